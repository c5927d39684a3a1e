//! Why an archive task failed.

use moat_protocol::ArchiveFailure;
use moat_protocol::tar::TarError;
use moat_protocol::text::harmless_bytes;
use nix::errno::Errno;

use crate::failure::reason;

/// A task that failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure, for the host.
    pub kind: ArchiveFailure,
    /// What was asked and what was wrong.
    pub message: String,
}

impl Error {
    /// The file system, or the connection, refuses.
    pub fn io(message: impl Into<String>) -> Self {
        Self { kind: ArchiveFailure::Io, message: message.into() }
    }

    /// A file of the wrong type is there.
    pub fn wrong_kind(message: impl Into<String>) -> Self {
        Self { kind: ArchiveFailure::WrongKind, message: message.into() }
    }

    /// The host's archive is bad.
    pub fn bad_archive(message: impl Into<String>) -> Self {
        Self { kind: ArchiveFailure::BadArchive, message: message.into() }
    }

    /// A path of the host's could not be looked up.
    pub fn look_up(path: &str, error: Errno) -> Self {
        let kind = match error {
            Errno::ENOENT => ArchiveFailure::NotFound,
            Errno::ENOTDIR => ArchiveFailure::WrongKind,
            _ => ArchiveFailure::Io,
        };
        Self { kind, message: format!("{path}: {}", reason(error)) }
    }
}

impl From<TarError> for Error {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Io(_) => Self::io(error.to_string()),
            _ => Self::bad_archive(error.to_string()),
        }
    }
}

/// Adds what failed to an error.
pub trait At<T> {
    /// Puts `what`, a path of the container or an attempt, in front of the reason.
    fn at(self, what: impl AsRef<[u8]>) -> Result<T, Error>;
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, what: impl AsRef<[u8]>) -> Result<T, Error> {
        self.map_err(|error| Error::io(format!("{}: {}", shown(what.as_ref()), reason(error))))
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, what: impl AsRef<[u8]>) -> Result<T, Error> {
        self.map_err(|error| {
            let why =
                error.raw_os_error().map_or_else(|| error.to_string(), |code| reason(Errno::from_raw(code)));
            Error::io(format!("{}: {why}", shown(what.as_ref())))
        })
    }
}

/// The start of a name that an archive or a container chose, made fit for a message.
pub fn shown(name: &[u8]) -> String {
    const MOST: usize = 200;
    harmless_bytes(&name[..name.len().min(MOST)])
}
