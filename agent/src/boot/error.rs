//! Why the guest cannot be used.

use std::io;
use std::path::PathBuf;

use moat_protocol::frame::FrameError;
use moat_protocol::{BootPhase, CONTROL_PORT};
use nix::errno::Errno;

/// Why the boot stopped.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file system could not be mounted.
    #[error("{cause}")]
    Mount {
        /// Which part of the boot it belongs to.
        phase: BootPhase,
        /// What was asked and what was wrong.
        cause: MountError,
    },
    /// The host does not answer.
    #[error("cannot reach the host on port {CONTROL_PORT}: {0}")]
    Dial(io::Error),
    /// The host hung up.
    #[error("cannot greet the host: {0}")]
    Greet(FrameError),
}

impl BootError {
    /// The phase in which the boot stopped.
    pub fn phase(&self) -> BootPhase {
        match self {
            Self::Mount { phase, .. } => *phase,
            Self::Dial(_) | Self::Greet(_) => BootPhase::Dial,
        }
    }
}

/// Why one of the guest's file systems cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each says it itself
pub enum MountError {
    #[error("cannot create {}: {cause}", path.display())]
    Create { path: PathBuf, cause: io::Error },
    #[error("cannot mount {kind} at {target}: {cause}")]
    Mount { kind: &'static str, target: &'static str, cause: Errno },
    #[error("cannot {step}: {cause}")]
    Root { step: &'static str, cause: Errno },
    #[error("cannot write \"{value}\" to {path}: {cause}")]
    Controllers { value: &'static str, path: String, cause: io::Error },
    #[error("cannot open /dev/null: {0}")]
    Null(io::Error),
    #[error("cannot mount the image, {}, as EROFS: {cause}", device.display())]
    Image { device: PathBuf, cause: Errno },
    #[error("cannot mount the writable layer, {}, as ext4: {cause}", device.display())]
    Layer { device: PathBuf, cause: Errno },
    #[error("cannot make the writable layer read-only: {0}")]
    ReadOnly(Errno),
    #[error("cannot give the writable layer the image's root permissions: {0}")]
    Permissions(io::Error),
    #[error("cannot join the image and the writable layer: {0}")]
    Overlay(Errno),
}
