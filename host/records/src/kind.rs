//! What kind of failure an error is, so that a face maps it to an exit code or an HTTP status without reading its text.

use serde::{Deserialize, Serialize};

/// What kind of failure an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// What was named does not exist.
    NotFound,
    /// A name, port or address is taken, or something else is in use.
    Conflict,
    /// The container's state does not allow it.
    IllegalState,
    /// The request makes no sense.
    Invalid,
    /// The request makes sense, and Moat does not do it.
    Unsupported,
    /// Another command is at work on it; it can be tried again.
    Busy,
    /// The host's disk is full.
    NoSpace,
    /// A registry refused, for lack of a right.
    Denied,
    /// The host, the guest or a registry failed.
    #[serde(other)]
    Host,
}

impl From<&std::io::Error> for ErrorKind {
    fn from(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Host,
        }
    }
}
