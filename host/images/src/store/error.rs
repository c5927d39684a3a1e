//! What can go wrong in the store and with archives. A message tells its cause itself, so that nothing has to walk a
//! chain of errors.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::digest::{Digest, DigestError};
use super::limits;
use super::reference::ReferenceError;
use moat_records::kind::ErrorKind;
use moat_records::record::RecordError;

/// What can go wrong in the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file of the store cannot be read or written.
    #[error("{}: {cause}{}", path.display(), advice(cause, path))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        cause: io::Error,
    },
    /// A lock or record of the store cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A file of the store is not what was written there.
    #[error("{} is damaged: {reason}; remove the image and load it again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the store was written by a later version of Moat.
    #[error(
        "{} is of format {format}, and this version of Moat reads formats up to {newest}: a newer version wrote it; use \
         that one", path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u64,
        /// The newest format that is known.
        newest: u32,
    },
    /// No image has the name or id that was asked for.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// Several images have ids that begin like this.
    #[error(
        "{0} is the beginning of several image ids; type more digits (`moat images --no-trunc` shows all)"
    )]
    Ambiguous(String),
    /// Neither a name nor an id.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The last name of an image that a container uses.
    #[error(
        "conflict: unable to remove repository reference {reference:?} (must force) - container {container} is using \
         its referenced image {image}"
    )]
    ReferenceInUse {
        /// As typed.
        reference: String,
        /// The container's id.
        container: String,
        /// The image's short id.
        image: String,
    },
    /// An image that cannot be removed.
    #[error("conflict: unable to delete {image} ({}) - {reason}", if *forcible { "must be forced" } else { "cannot be forced" })]
    Conflict {
        /// The image's short id.
        image: String,
        /// Whether `-f` would do it.
        forcible: bool,
        /// Why.
        reason: String,
    },
    /// An archive cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The destination of an archive does not take it.
    #[error("cannot write the archive")]
    Output(#[source] io::Error),
    /// The disk would be full.
    #[error(
        "not enough room in {0}: {bytes} more bytes are needed, {available} are free and {reserve} are to stay so; free \
         space there (`moat system prune`, `df -h {0}`) or choose another place with --root", path.display()
    )]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// How many bytes are needed now.
        bytes: u64,
        /// How many are free.
        available: u64,
        /// How many of them are not used.
        reserve: u64,
    },
    /// More names than the record of an image holds.
    #[error(
        "the record of an image, {}, has no place for more names; remove names that you do not need (`moat \
         images`, `moat rmi`); nothing was changed", path.display()
    )]
    IndexFull {
        /// The record.
        path: PathBuf,
    },
    /// An image's layers cannot be made into a disk.
    #[error("the layers of image {image} cannot be made into a disk: {cause}")]
    Index {
        /// The image's short id.
        image: String,
        /// What is wrong with them.
        cause: moat_rootfs::Error,
    },
}

impl StoreError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { cause, .. } => cause.into(),
            Self::Record(e) => e.kind(),
            Self::NoSuchImage(_) => ErrorKind::NotFound,
            Self::Ambiguous(_) | Self::Reference(_) | Self::Load(_) | Self::Index { .. } => {
                ErrorKind::Invalid
            }
            Self::ReferenceInUse { .. } | Self::Conflict { .. } => ErrorKind::Conflict,
            Self::NoRoom { .. } | Self::IndexFull { .. } => ErrorKind::NoSpace,
            Self::Newer { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } | Self::Output(_) => ErrorKind::Host,
        }
    }

    /// For `map_err`: an error about the file at `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }
}

/// What to do about an error that people can do something about.
fn advice(error: &io::Error, path: &Path) -> String {
    if ![Errno::ENOSPC, Errno::EDQUOT].iter().any(|&errno| error.raw_os_error() == Some(errno as i32)) {
        return String::new();
    }
    // Staged files are gone when this is read.
    let place = path.ancestors().skip(1).find(|place| place.exists()).unwrap_or(path).display();
    format!("; free space there (`df -h {place}`) or choose another place with --root; nothing was kept")
}

/// What can be wrong with an archive. `member` is a name in the archive; `what` says which part of which image.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The archive's bytes cannot be read.
    #[error("cannot read the archive: {0}")]
    Read(io::Error),
    /// There are no bytes.
    #[error("the archive is empty")]
    Empty,
    /// The compression around the whole archive is broken.
    #[error("the archive is damaged or incomplete: {0}")]
    Compression(io::Error),
    /// The compression around the whole archive is one that Moat does not read.
    #[error(
        "the archive is compressed with {0}, which Moat does not read; decompress it first (`{0} -dc FILE | moat load`)"
    )]
    UnknownCompression(&'static str),
    /// The bytes are no tar archive.
    #[error("not a tar archive; Moat loads what `docker save` writes and OCI image archives")]
    NotTar,
    /// The archive ends too early.
    #[error("the archive is incomplete: it ends in the middle of {0}")]
    Truncated(String),
    /// A header of the archive makes no sense.
    #[error("the archive is damaged at byte {offset}, after {after}: {reason}")]
    Header {
        /// Where, in the uncompressed archive.
        offset: u64,
        /// The member before it.
        after: String,
        /// What is wrong.
        reason: String,
    },
    /// A name that no image archive has.
    #[error("member {member:?} of the archive: {reason}")]
    Member {
        /// Which member.
        member: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// More of something than [`limits`] allow.
    #[error("{what} {limit}")]
    Limit {
        /// What there is too much of.
        what: String,
        /// How much there may be; it ends the sentence.
        limit: String,
    },
    /// A decompression bomb.
    #[error("{member} expands to more than {limit}")]
    Expansion {
        /// What was being expanded.
        member: String,
        /// The limit that it went over.
        limit: String,
    },
    /// A tar archive of something else.
    #[error(
        "the archive holds no image: it has neither a manifest.json (docker save) nor an index.json (OCI layout)"
    )]
    NotAnImage,
    /// The archive lists no images.
    #[error("the archive's {0} lists no images")]
    NoImages(&'static str),
    /// A document is not what it should be.
    #[error("{what} is not valid: {reason}")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that was named is not there.
    #[error("{what}: the archive has no member {member:?}")]
    Missing {
        /// What names it.
        what: String,
        /// What is not there.
        member: String,
    },
    /// A kind of content that Moat does not know.
    #[error("{what}: unknown media type {media_type:?}")]
    MediaType {
        /// What has it.
        what: String,
        /// The media type.
        media_type: String,
    },
    /// Content that does not match its digest.
    #[error("{what}: expected {kind} {expected}, got {got}")]
    Mismatch {
        /// Whose content.
        what: String,
        /// Which property.
        kind: &'static str,
        /// What the documents say.
        expected: String,
        /// What the content says.
        got: String,
    },
    /// A malformed digest.
    #[error("{what}: {cause}")]
    Digest {
        /// What has it.
        what: String,
        /// What is wrong.
        cause: DigestError,
    },
    /// A layer whose compression is broken or unknown.
    #[error("{what}: {reason}")]
    Layer {
        /// Which layer of which image.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An image without layers.
    #[error("{0} has no layers, so there is nothing that could run in it")]
    NoLayers(String),
    /// Manifest and config do not agree.
    #[error("{what} has {layers} layers, but its config has {diff_ids} diff_ids")]
    LayerCount {
        /// Which image.
        what: String,
        /// Layers in the manifest.
        layers: usize,
        /// Ids in the config.
        diff_ids: usize,
    },
    /// No image for this machine.
    #[error("{what} has no image for linux/amd64, only for {}", offered.join(", "))]
    Platform {
        /// Which index.
        what: String,
        /// The platforms that it has.
        offered: Vec<String>,
    },
    /// A malformed name.
    #[error("{what}: {cause}")]
    Reference {
        /// Where it stands.
        what: String,
        /// What is wrong with it.
        cause: ReferenceError,
    },
}

impl LoadError {
    pub(super) fn mismatch(what: &str, kind: &'static str, expected: Digest, got: Digest) -> Self {
        Self::Mismatch { what: what.to_owned(), kind, expected: expected.to_string(), got: got.to_string() }
    }

    pub(super) fn too_many(what: impl Into<String>, limit: usize) -> Self {
        Self::Limit { what: what.into(), limit: format!("are more than {limit}, the most that Moat takes") }
    }

    pub(super) fn document_too_large(what: &str, size: u64) -> Self {
        let limit = format!("is {size} bytes long; the most that Moat takes is {}", limits::MAX_DOCUMENT);
        Self::Limit { what: what.to_owned(), limit }
    }
}
