//! One pass over an archive: every file in it goes to the staging directory, with compression taken off.
//!
//! Members come in any order, and what one of them is stands in documents that may come last. So all of them are
//! treated as if they were layers; the documents among them are small and are read again later.

use std::collections::HashMap;
use std::io::{self, BufReader, Cursor, Read};

use thiserror::Error;

use super::super::budget::Budget;
use super::super::digest::{Digest, Hasher};
use super::super::error::{LoadError, StoreError};
use super::super::limits::{MAX_DOCUMENT, MAX_LINKS, MAX_MEMBERS};
use super::super::shorten::shorten;
use super::super::staging::Staging;
use super::content::StagedBlob;
use super::stream::{CHUNK, Compression, Source, read_head};
use super::walk::{Kind, Walker};

/// A file of the archive.
#[derive(Debug)]
pub(in crate::store) struct Staged {
    /// The digest of the bytes in the archive.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// How they are compressed.
    pub compression: Compression,
    /// The file without that, or what is wrong with the compression: it matters only if the file is part of an image.
    pub content: Result<StagedBlob, BrokenCompression>,
}

/// A file that cannot be decompressed.
#[derive(Debug, Clone, Error)]
#[error("its {compression} compression is broken: {cause}")]
pub(in crate::store) struct BrokenCompression {
    compression: Compression,
    cause: String,
}

/// What the names of an archive lead to.
#[derive(Debug)]
enum Node {
    File(Staged),
    /// The normalised name of another member.
    Link(String),
    /// Nothing that has content, and what is to be said about that.
    Other(&'static str),
}

/// What is wrong with a link to a file of the host.
const OUTSIDE: &str = "is a link that leads out of the archive";

/// Everything in an archive.
#[derive(Debug, Default)]
pub(super) struct Members(HashMap<String, Node>);

impl Members {
    /// Reads the archive to its end. `seen` is told each file's name and size.
    pub(super) fn collect(
        source: Source<'_>,
        staging: &mut Staging,
        mut seen: impl FnMut(&str, u64),
    ) -> Result<Self, StoreError> {
        let budget = Budget::new(source.input());
        let mut walker = Walker::new(source);
        let mut members = Self::default();
        let mut count = 0;
        while let Some(member) = walker.next()? {
            count += 1;
            if count > MAX_MEMBERS {
                return Err(LoadError::too_many("the archive's members", MAX_MEMBERS).into());
            }
            let name = normalise(&member.name, "")?;
            let node = match member.kind {
                Kind::File(size) => {
                    seen(&name, size);
                    Node::File(stage(&mut walker, staging, &budget, &name)?)
                }
                Kind::Symlink(target) => {
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    normalise(&target, directory).map_or(Node::Other(OUTSIDE), Node::Link)
                }
                Kind::Hardlink(target) => normalise(&target, "").map_or(Node::Other(OUTSIDE), Node::Link),
                Kind::Other => Node::Other("is not a file"),
            };
            members.insert(name, node)?;
        }
        Ok(members)
    }

    fn insert(&mut self, name: String, node: Node) -> Result<(), LoadError> {
        // Programs do not agree which of two members of one name counts, so there must be no difference.
        let fault = match (self.0.get(&name), &node) {
            (None, _) => false,
            (Some(Node::Other(old)), Node::Other(new)) => old != new,
            (Some(Node::File(old)), Node::File(new)) => old.digest != new.digest,
            (Some(Node::Link(old)), Node::Link(new)) => old != new,
            _ => true,
        };
        if fault {
            return Err(LoadError::Member {
                member: shorten(&name),
                reason: "occurs twice, with different content",
            });
        }
        self.0.insert(name, node);
        Ok(())
    }

    /// Whether there is a member of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The file of this name, for `what`. Where the name itself gives the digest, the file has it.
    pub(super) fn file(&self, name: &str, what: &str) -> Result<&Staged, LoadError> {
        let missing = || LoadError::Missing { what: what.to_owned(), member: shorten(name) };
        let mut at = normalise(name, "")?;
        for _ in 0..=MAX_LINKS {
            match self.0.get(&at).ok_or_else(missing)? {
                Node::Link(target) => at.clone_from(target),
                Node::Other(reason) => return Err(LoadError::Member { member: shorten(name), reason }),
                Node::File(staged) => {
                    if let Some(expected) = digest_in_name(&at) {
                        check(what, "digest", expected, staged.digest)?;
                    }
                    return Ok(staged);
                }
            }
        }
        Err(LoadError::Member { member: shorten(name), reason: "leads through too many links" })
    }

    /// The content of a JSON document.
    pub(super) fn document(&self, name: &str, what: &str) -> Result<Vec<u8>, StoreError> {
        let staged = self.file(name, what)?;
        let content = match (&staged.content, staged.compression) {
            (Ok(content), Compression::None) => content,
            _ => {
                let reason = "it is compressed, not JSON".to_owned();
                return Err(LoadError::Document { what: what.to_owned(), reason }.into());
            }
        };
        if content.size > MAX_DOCUMENT {
            return Err(LoadError::document_too_large(what, content.size).into());
        }
        std::fs::read(&content.path).map_err(StoreError::io(&content.path))
    }
}

/// Refuses `got` if it is not what was `expected`.
pub(super) fn check(what: &str, kind: &'static str, expected: Digest, got: Digest) -> Result<(), LoadError> {
    if expected == got { Ok(()) } else { Err(LoadError::mismatch(what, kind, expected, got)) }
}

/// The digest that `blobs/sha256/DIGEST` (OCI) and `DIGEST.json` (the config, in Docker's archives) promise.
fn digest_in_name(name: &str) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256/").or_else(|| name.strip_suffix(".json"))?;
    Digest::from_hex(hex).ok()
}

/// The one way to write the name of a member: relative to the archive's root, without `.` and `..`. `directory` is what
/// `name` is relative to. These names lead to members, never to files of the host.
fn normalise(name: &str, directory: &str) -> Result<String, LoadError> {
    let fault = |reason| LoadError::Member { member: shorten(name), reason };
    if name.starts_with('/') {
        return Err(fault("its name is absolute, which no image archive needs"));
    }
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(|| fault("its name leads out of the archive"))?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Stages the member that `walker` is at.
fn stage(
    walker: &mut Walker<'_>,
    staging: &mut Staging,
    budget: &Budget,
    name: &str,
) -> Result<Staged, StoreError> {
    let head = read_head(walker).map_err(|e| broken(walker, e))?;
    let compression = Compression::of(&head);
    let mut whole = Cursor::new(head).chain(walker);
    if matches!(compression, Compression::None | Compression::Unknown(_)) {
        let content = StagedBlob::stage(&mut whole, staging, budget, name)?;
        let content = content.map_err(|e| broken(whole.get_mut().1, e))?;
        return Ok(Staged { digest: content.digest, size: content.size, compression, content: Ok(content) });
    }
    let mut raw = Raw { reader: whole, hasher: Hasher::default(), size: 0 };
    let reader = BufReader::with_capacity(CHUNK, &mut raw);
    let content = match compression.decoder(reader) {
        Ok(mut decoder) => StagedBlob::stage(&mut decoder, staging, budget, name)?,
        Err(e) => Err(e),
    };
    // What a decoder left unread counts for the digest of the compressed bytes.
    let drained = io::copy(&mut raw, &mut io::sink());
    let walker = raw.reader.get_mut().1;
    if let Some(failure) = walker.take_failure() {
        return Err(failure.into());
    }
    drained.map_err(LoadError::Read)?;
    let content = content.map_err(|e| BrokenCompression { compression, cause: e.to_string() });
    Ok(Staged { digest: raw.hasher.finish(), size: raw.size, compression, content })
}

/// Why a member's bytes could not be read.
fn broken(walker: &mut Walker<'_>, error: io::Error) -> LoadError {
    walker.take_failure().unwrap_or(LoadError::Read(error))
}

/// A member's bytes as they are in the archive.
struct Raw<R> {
    reader: R,
    hasher: Hasher,
    size: u64,
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_one_way_and_stay_inside() {
        assert_eq!(normalise("./blobs//sha256/./x", "").unwrap(), "blobs/sha256/x");
        assert_eq!(normalise("../b/layer.tar", "a").unwrap(), "b/layer.tar");
        assert_eq!(normalise("x", "a/b").unwrap(), "a/b/x");
        for (name, directory) in [("../x", ""), ("../../x", "a"), ("/x", "a"), ("a/../../x", "")] {
            normalise(name, directory).unwrap_err();
        }
    }
}
