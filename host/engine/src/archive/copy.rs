//! Docker's rules for `cp`: what goes where, and under which name.
//!
//! | source | destination | what happens |
//! |---|---|---|
//! | file | is not there | it is made, in a directory that is there |
//! | file | is not there, ends with `/` | an error |
//! | file | is a file | it is replaced |
//! | file | is a directory | it goes into that |
//! | directory | is not there | it is made, with what is in the source |
//! | directory | is a file | an error |
//! | directory | is a directory | the source goes into that |
//! | directory`/.` | is a directory | what is in the source goes into that |
//!
//! A symbolic link as the source is copied as a link, unless it is followed; one as the destination is followed. A path
//! in the container is an absolute one whether it begins with `/` or not.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use moat_protocol::tar::{Entry, Kind, Reader, TarError, Writer};
use moat_protocol::{ArchiveTask, PathStat};
use nix::sys::stat::SFlag;

use super::path::{asserts_directory, clean, last, means_contents, parent, target};
use super::{ArchiveError, Files, Rename, Transfer, extract, pack};
use moat_containers::events;

/// How many links one after the other lead to a destination.
const MAX_LINKS: usize = 10;

/// How much is gathered before it is sent, in bytes.
const CHUNK: usize = 128 << 10;

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Copy what a symbolic link at the end of the source points to.
    pub follow: bool,
    /// Keep the owners of files.
    pub owners: bool,
}

/// Where to go, or where to come from, on the host.
pub enum Local<'a, S> {
    /// A path, as it was typed.
    Path(&'a OsStr),
    /// A tar.
    Stream(S),
}

/// What is copied.
struct Source<'a> {
    /// What its names in the archive begin with; nothing for the root directory.
    base: Option<&'a [u8]>,
    is_dir: bool,
    /// Only what is in it.
    contents: bool,
}

/// Where it goes to.
#[derive(Debug, PartialEq, Eq)]
struct Destination {
    /// Cleaned and absolute; links at its end are followed.
    path: Vec<u8>,
    /// Whether it is a directory, if it is there.
    is_dir: Option<bool>,
    /// Whether it was typed as one.
    asserted: bool,
}

/// Copies from a container. `seen` is told each number of bytes that went by; the answer is their destination.
///
/// # Errors
/// When there is no such path, Docker's rules do not allow it, or something cannot be read or written.
pub(super) fn from_container(
    files: &mut Files<'_>,
    path: &str,
    to: Local<'_, &mut dyn Write>,
    options: CopyOptions,
    seen: impl FnMut(u64),
) -> Result<String, ArchiveError> {
    let typed = path.as_bytes();
    let place = container_path(path)?;
    // Before a VM is booted for nothing.
    let checked = match &to {
        Local::Path(path) => Some(local_destination(path)?),
        Local::Stream(_) => None,
    };
    let follow = options.follow || asserts_directory(typed);
    let name = files.container().config.name.clone();
    let stat = files.stat(&place, follow)?;
    let stat = stat.ok_or_else(|| ArchiveError::NotFound { container: name, path: path.to_owned() })?;
    let is_dir = is_dir(&stat);
    if asserts_directory(typed) && !is_dir {
        return Err(rule(format!("{path}: not a directory")));
    }
    let source = Source { base: last(place.as_bytes()), is_dir, contents: means_contents(typed) };
    let planned = checked.as_ref().map(|destination| plan(&source, destination)).transpose()?;
    events::emit(files.engine().root(), files.container(), "archive-path", &[]);
    let mut transfer = files.begin(ArchiveTask::Read { path: place.clone(), follow })?;
    let mut counted = Counted { inner: &mut transfer, seen };
    let copied = match (planned, to) {
        (Some((directory, name)), Local::Path(_)) => {
            let rename = match source.base {
                Some(base) => Rename::first(base, name.as_deref()),
                None => Rename::below(name.as_deref()),
            };
            extract(&mut counted, Path::new(OsStr::from_bytes(&directory)), &rename, options.owners)
        }
        (_, Local::Stream(sink)) => match source.base {
            Some(base) if source.contents => relay(&mut counted, &Rename::first(base, None), sink),
            _ => pass_on(&mut counted, sink),
        },
        (None, Local::Path(_)) => Ok(()),
    };
    match copied {
        Ok(()) => transfer.finish().map(drop)?,
        Err(e) => return Err(transfer.reason(e)),
    }
    Ok(checked
        .map_or_else(String::new, |destination| String::from_utf8_lossy(&destination.path).into_owned()))
}

/// Copies into a container. `seen` is told each number of bytes that went by; the answer is their destination.
///
/// # Errors
/// As [`from_container`].
pub(super) fn to_container(
    files: &mut Files<'_>,
    from: Local<'_, &mut dyn Read>,
    path: &str,
    options: CopyOptions,
    seen: impl FnMut(u64),
) -> Result<String, ArchiveError> {
    let source = match &from {
        Local::Path(path) => Some(local_source(path, options.follow)?),
        Local::Stream(_) => None,
    };
    let name = files.container().config.name.clone();
    let destination = container_destination(files, path)?;
    let (directory, new_name) = match &source {
        None if destination.is_dir == Some(true) => (destination.path.clone(), None),
        None => return Err(rule(format!("destination \"{name}:{path}\" must be a directory"))),
        Some(source) => plan(&source.as_source(), &destination)?,
    };
    let directory = text(directory)?;
    events::emit(files.engine().root(), files.container(), "extract-to-dir", &[]);
    let task = ArchiveTask::Write { path: directory, keep_owner: options.owners, keep_kind: true };
    let mut transfer = files.begin(task)?;
    let counted = Counted { inner: &mut transfer, seen };
    let mut sink = BufWriter::with_capacity(CHUNK, counted);
    let sent = match (from, &source) {
        (Local::Stream(stream), _) => pass_on(stream, &mut sink).map_err(|e| match e {
            // Here the output is the container.
            ArchiveError::Output(e) => ArchiveError::Stream(e),
            other => other,
        }),
        (Local::Path(_), Some(source)) => pack(&source.parent, &source.base, new_name.as_deref(), &mut sink),
        (Local::Path(_), None) => Ok(()),
    };
    let sent = sent.and_then(|()| sink.flush().map_err(ArchiveError::Stream));
    // What is left in it is of no use any more.
    drop(sink.into_parts());
    match sent {
        Ok(()) => transfer.finish().map(drop)?,
        Err(e) => return Err(transfer.reason(e)),
    }
    Ok(format!("{name}:{}", String::from_utf8_lossy(&destination.path)))
}

/// Decides into which directory it goes, and what it is called there; without a name, what is in it goes there.
fn plan(source: &Source<'_>, destination: &Destination) -> Result<(Vec<u8>, Option<Vec<u8>>), ArchiveError> {
    let path = &destination.path;
    // The root directory is there, so a path that is not has a last part.
    let beside = || (parent(path).to_vec(), last(path).map(<[u8]>::to_vec));
    match destination.is_dir {
        Some(true) if source.contents => Ok((path.clone(), None)),
        Some(true) => Ok((path.clone(), source.base.map(<[u8]>::to_vec))),
        Some(false) if source.is_dir => Err(rule("cannot copy directory".to_owned())),
        Some(false) if destination.asserted => Err(rule("not a directory".to_owned())),
        Some(false) => Ok(beside()),
        None if !source.is_dir && destination.asserted => Err(rule("no such directory".to_owned())),
        None => Ok(beside()),
    }
}

/// A path in a container: absolute, and clean.
fn container_path(typed: &str) -> Result<String, ArchiveError> {
    text(clean(format!("/{typed}").as_bytes()))
}

fn text(path: Vec<u8>) -> Result<String, ArchiveError> {
    String::from_utf8(path)
        .map_err(|e| rule(format!("the path {} is not UTF-8", String::from_utf8_lossy(e.as_bytes()))))
}

fn rule(text: String) -> ArchiveError {
    ArchiveError::Rules(text)
}

fn is_dir(stat: &PathStat) -> bool {
    kind(stat) == SFlag::S_IFDIR
}

fn kind(stat: &PathStat) -> SFlag {
    SFlag::from_bits_truncate(stat.mode & SFlag::S_IFMT.bits())
}

/// Looks at a destination in a container, and behind links at its end.
fn container_destination(files: &mut Files<'_>, typed: &str) -> Result<Destination, ArchiveError> {
    let asserted = asserts_directory(typed.as_bytes());
    let mut path = container_path(typed)?;
    for _ in 0..=MAX_LINKS {
        let Some(stat) = files.stat(&path, false)? else {
            return Ok(Destination { path: path.into_bytes(), is_dir: None, asserted });
        };
        match kind(&stat) {
            SFlag::S_IFLNK => path = text(target(path.as_bytes(), stat.link_target.as_bytes()))?,
            SFlag::S_IFDIR | SFlag::S_IFREG => {
                return Ok(Destination { path: path.into_bytes(), is_dir: Some(is_dir(&stat)), asserted });
            }
            _ => {
                let name = &files.container().config.name;
                let problem = format!("destination \"{name}:{typed}\" must be a directory or a regular file");
                return Err(rule(problem));
            }
        }
    }
    Err(rule(format!("{typed}: too many symbolic links")))
}

/// Looks at a destination on the host, and behind links at its end.
fn local_destination(typed: &OsStr) -> Result<Destination, ArchiveError> {
    let absolute = std::path::absolute(typed).map_err(ArchiveError::file(Path::new(typed)))?;
    let mut path = clean(absolute.as_os_str().as_bytes());
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let asserted = asserts_directory(typed.as_bytes());
    for _ in 0..=MAX_LINKS {
        let here = PathBuf::from(OsString::from_vec(path.clone()));
        let kind = match fs::symlink_metadata(&here) {
            Ok(metadata) => metadata.file_type(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let directory = Path::new(OsStr::from_bytes(parent(&path)));
                return match fs::metadata(directory) {
                    Ok(metadata) if metadata.is_dir() => Ok(Destination { path, is_dir: None, asserted }),
                    Ok(_) => Err(rule("not a directory".to_owned())),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        let directory = directory.display();
                        Err(rule(format!("invalid output path: directory \"{directory}\" does not exist")))
                    }
                    Err(e) => Err(ArchiveError::file(directory)(e)),
                };
            }
            Err(e) => return Err(ArchiveError::file(&here)(e)),
        };
        if kind.is_symlink() {
            let link = fs::read_link(&here).map_err(ArchiveError::file(&here))?;
            path = target(&path, link.as_os_str().as_bytes());
            continue;
        }
        if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
            let path = shown(&path);
            let problem = format!("invalid output path: \"{path}\" must be a directory or a regular file");
            return Err(rule(problem));
        }
        return Ok(Destination { path, is_dir: Some(kind.is_dir()), asserted });
    }
    Err(rule(format!("{}: too many symbolic links", shown(&path))))
}

/// A source on the host.
#[derive(Debug)]
struct LocalSource {
    parent: PathBuf,
    /// What is copied, in its directory.
    base: OsString,
    /// What it is called as it was typed.
    name: Option<Vec<u8>>,
    is_dir: bool,
    contents: bool,
}

impl LocalSource {
    fn as_source(&self) -> Source<'_> {
        Source { base: self.name.as_deref(), is_dir: self.is_dir, contents: self.contents }
    }
}

fn local_source(typed: &OsStr, follow: bool) -> Result<LocalSource, ArchiveError> {
    let bytes = typed.as_bytes();
    let failed = |path: &Path, e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => rule(format!("lstat {}: no such file or directory", path.display())),
        _ => ArchiveError::file(path)(e),
    };
    let absolute = std::path::absolute(typed).map_err(ArchiveError::file(Path::new(typed)))?;
    let cleaned = clean(absolute.as_os_str().as_bytes());
    let path = PathBuf::from(OsString::from_vec(cleaned.clone()));
    // Links on the way are followed in any case: the user has named them.
    let resolved = if follow || asserts_directory(bytes) {
        fs::canonicalize(&path).map_err(|e| failed(&path, e))?
    } else {
        let directory = Path::new(OsStr::from_bytes(parent(&cleaned)));
        let directory = fs::canonicalize(directory).map_err(|e| failed(&path, e))?;
        last(&cleaned).map_or(directory.clone(), |name| directory.join(OsStr::from_bytes(name)))
    };
    let metadata = fs::symlink_metadata(&resolved).map_err(|e| failed(&path, e))?;
    if asserts_directory(bytes) && !metadata.is_dir() {
        return Err(rule(format!("{}: not a directory", Path::new(typed).display())));
    }
    let base = resolved.file_name().map_or_else(|| OsString::from("."), OsStr::to_owned);
    Ok(LocalSource {
        parent: resolved.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned),
        base,
        name: last(&cleaned).map(<[u8]>::to_vec),
        is_dir: metadata.is_dir(),
        contents: means_contents(bytes) || last(&cleaned).is_none(),
    })
}

/// Copies bytes as they are.
pub(super) fn pass_on(mut source: impl Read, mut sink: impl Write) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return sink.flush().map_err(ArchiveError::Output),
            Ok(length) => sink.write_all(&buffer[..length]).map_err(ArchiveError::Output)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ArchiveError::Stream(e)),
        }
    }
}

/// Copies an archive whose names change on the way.
fn relay(source: impl Read, rename: &Rename, sink: impl Write) -> Result<(), ArchiveError> {
    let renamed = |name: &[u8], kind: Kind| -> Result<Vec<u8>, ArchiveError> {
        let parts = rename.apply(name)?;
        let mut name = [b".".as_slice()].into_iter().chain(parts).collect::<Vec<_>>().join(&b'/');
        if kind == Kind::Directory {
            name.push(b'/');
        }
        Ok(name)
    };
    let mut reader = Reader::new(source);
    let mut writer = Writer::new(BufWriter::with_capacity(CHUNK, sink));
    while let Some(entry) = reader.next_entry()? {
        let mut entry = Entry { path: renamed(&entry.path, entry.kind)?, ..entry };
        if entry.kind == Kind::HardLink {
            entry.link = renamed(&entry.link, entry.kind)?;
        }
        writer.append(&entry, &mut reader).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Incomplete.into(),
            _ => ArchiveError::Output(e),
        })?;
    }
    writer.finish().map(drop).map_err(ArchiveError::Output)
}

/// A stream that tells how much went through it.
struct Counted<'a, F> {
    inner: &'a mut Transfer,
    seen: F,
}

impl<F: FnMut(u64)> Read for Counted<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        (self.seen)(length as u64);
        Ok(length)
    }
}

impl<F: FnMut(u64)> Write for Counted<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        (self.seen)(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
