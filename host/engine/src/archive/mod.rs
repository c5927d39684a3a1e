//! Files in and out of containers: `cp`, `diff`, `export` and `commit`, which are methods of [`Engine`](crate::Engine).
//!
//! The guest reads and writes its own file system ([`moat_protocol::ArchiveTask`]); what crosses over is a stream,
//! mostly a tar. [`Files`] carries the tasks out, [`pack`] makes a tar of the host's files, [`extract`] makes files of a
//! tar, [`copy`] knows Docker's rules for what goes where, and [`changes`] reads the list of differences.
//!
//! The guest is hostile and so are its tars: [`extract`] tells what that means for the host's files.

pub mod changes;
mod commit;
mod config;
mod copy;
mod directory;
mod export;
mod extract;
mod pack;
mod path;
mod rename;
mod transfer;
mod verbs;

use std::io;
use std::path::{Path, PathBuf};

use moat_protocol::frame::FrameError;
use moat_protocol::tar::TarError;
use moat_protocol::text;
use thiserror::Error;

pub use commit::CommitRequest;
pub use copy::{CopyOptions, Local};
pub use export::Output;
pub(crate) use extract::extract;
pub(crate) use pack::pack;
pub(crate) use rename::Rename;
pub(crate) use transfer::{Files, Transfer};

use crate::EngineError;
use moat_images::store::StoreError;
use moat_records::kind::ErrorKind;

/// Why files could not be copied.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The container cannot be reached.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is nothing at a path of a container. Docker's words.
    #[error("No such container:path: {container}:{}", shown(path))]
    NotFound {
        /// The container's name.
        container: String,
        /// The path.
        path: String,
    },
    /// The guest did not do what it was asked.
    #[error("container {container}: {}", shown(message))]
    Guest {
        /// The container's name.
        container: String,
        /// What kind of failure it is.
        kind: ErrorKind,
        /// What the guest, or its monitor, says.
        message: String,
    },
    /// The monitor went away, or says what makes no sense here.
    #[error("container {container}: {cause}")]
    Monitor {
        /// The container's name.
        container: String,
        /// What happened to the connection.
        cause: FrameError,
    },
    /// The bytes are no proper archive.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry of an archive that is not made into a file.
    #[error("cannot extract {name}: {reason}")]
    Entry {
        /// The entry's name, fit to be shown.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A file of the host cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        cause: io::Error,
    },
    /// The stream to or from the guest broke.
    #[error("the stream between host and container broke: {0}")]
    Stream(io::Error),
    /// Docker's rules do not allow this copy.
    #[error("{0}")]
    Rules(String),
    /// The receiver of the archive's bytes does not take them.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The image store did not take what was made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(e) => e.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Guest { kind, .. } => *kind,
            Self::Entry { .. } | Self::Rules(_) => ErrorKind::Invalid,
            Self::File { cause, .. } => cause.into(),
            Self::Store(e) => e.kind(),
            Self::Monitor { .. } | Self::Tar(_) | Self::Stream(_) | Self::Output(_) => ErrorKind::Host,
        }
    }

    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::File { path, cause }
    }

    fn entry(name: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry { name: shown(&String::from_utf8_lossy(name)), reason: reason.into() }
    }
}

/// The longest text of a guest that is shown, in characters.
const MOST: usize = 400;

/// What a guest chose, fit to be shown: short, and without what would move a terminal's cursor.
fn shown(words: &str) -> String {
    text::harmless_start(words, MOST, "…")
}
