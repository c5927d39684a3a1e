//! What can go wrong with a container's records.

use std::io;
use std::path::PathBuf;

use moat_network::NetworkError;
use moat_records::id::ContainerId;
use moat_records::kind::ErrorKind;
use moat_records::record::RecordError;
use thiserror::Error;

use crate::cgroup::CgroupError;
use crate::state::{Illegal, Status};

/// What can go wrong with a container.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Several containers have ids that start so.
    #[error("multiple containers have ids that start with {0}; give more digits")]
    Ambiguous(String),
    /// The name cannot be a container's.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    BadName(String),
    /// The name is another container's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        holder: ContainerId,
    },
    /// Its state does not allow what was asked.
    #[error("{}", illegal.of(name))]
    Illegal {
        /// The container's name.
        name: String,
        /// What was asked, and of which state.
        illegal: Illegal,
    },
    /// Another command is at work on it.
    #[error("container {0} is in use by another command; try again when that is done")]
    Busy(String),
    /// It is not on the network that it was to leave.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container's name.
        container: String,
        /// The network, as it was asked for.
        network: String,
    },
    /// A restart policy was asked for, and the container is removed when it ends.
    #[error("a container that is removed when it ends (--rm) cannot have a restart policy")]
    RestartOfRemoved,
    /// A record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Networks could not be used.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A cgroup could not be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A directory could not be removed.
    #[error("cannot remove {}: {source}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The host refused something.
    #[error("cannot {action}: {source}")]
    Host {
        /// What was to be done.
        action: &'static str,
        /// What happened.
        source: io::Error,
    },
}

impl ContainerError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::NameTaken { .. } => ErrorKind::Conflict,
            Self::Illegal { .. } => ErrorKind::IllegalState,
            Self::Ambiguous(_) | Self::BadName(_) | Self::NotConnected { .. } | Self::RestartOfRemoved => {
                ErrorKind::Invalid
            }
            Self::Busy(_) => ErrorKind::Busy,
            Self::Record(e) => e.kind(),
            Self::Network(e) => e.kind(),
            Self::Cgroup(e) => e.kind(),
            Self::Remove { source, .. } | Self::Host { source, .. } => source.into(),
        }
    }

    /// Whether the text names the container itself.
    pub fn names_container(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::Illegal { .. } | Self::Busy(_) | Self::NotConnected { .. } => true,
            Self::Network(e) => e.names_container(),
            _ => false,
        }
    }

    /// The container's state, where that is what does not allow what was asked.
    pub fn state(&self) -> Option<Status> {
        match self {
            Self::Illegal { illegal, .. } => Some(illegal.status),
            _ => None,
        }
    }

    /// For `map_err`: the host refused to do `action`.
    pub fn host(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host { action, source }
    }
}
