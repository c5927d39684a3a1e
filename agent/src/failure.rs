//! Why a process did not start, in the words a user reads.

use moat_protocol::{GuestMessage, ProcessId, StartFailure};
use nix::errno::Errno;

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For the exit code.
    pub kind: StartFailure,
    /// What was asked and what was wrong.
    pub message: String,
}

impl Failure {
    /// A failure of the set-up, such as a wrong user or mount.
    pub fn setup(message: impl Into<String>) -> Self {
        Self { kind: StartFailure::Setup, message: message.into() }
    }

    /// The message to the host.
    pub fn message(&self, process: ProcessId) -> GuestMessage {
        GuestMessage::StartFailed { process, failure: self.kind, message: self.message.clone() }
    }
}

/// An error's text as Docker's users know it: `no such file or directory`.
pub fn reason(error: Errno) -> String {
    error.desc().to_lowercase()
}

/// Adds what was attempted to the error of a system call.
pub trait Context<T> {
    /// Adds `what`, such as "cannot mount /proc", in front of the reason.
    fn context(self, what: &str) -> Result<T, Failure>;
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::setup(format!("{what}: {}", reason(error))))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| match error.raw_os_error() {
            Some(code) => Failure::setup(format!("{what}: {}", reason(Errno::from_raw(code)))),
            None => Failure::setup(format!("{what}: {error}")),
        })
    }
}
