//! What can go wrong with a verb.

use std::io;

use moat_containers::ContainerError;
use moat_containers::state::Status;
use moat_images::config::ChangeError;
use moat_images::registry::RegistryError;
use moat_images::store::StoreError;
use moat_monitor::wire::Refusal;
use moat_network::NetworkError;
use moat_network::record::{BRIDGE_NAME_OPTION, MASQUERADE_OPTION, MTU_OPTION};
use moat_protocol::frame::FrameError;
use moat_records::id::ContainerId;
use moat_records::kind::ErrorKind;
use moat_records::record::RecordError;
use thiserror::Error;

use crate::archive::ArchiveError;

/// What can go wrong with a verb. [`EngineError::kind`] tells a face what to answer.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A container's records, state or name do not allow it.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// Its monitor did not end although its VM was killed.
    #[error("container {0} was killed but its monitor has not ended; try again")]
    Stuck(ContainerId),
    /// The image is for other machines.
    #[error(
        "the image {image} is for {platform} and virtual machines here are linux/amd64; load an image for that"
    )]
    Platform {
        /// The image, as it was asked for.
        image: String,
        /// What it is for.
        platform: String,
    },
    /// There is nothing to run.
    #[error("no command specified: the image has no CMD and no ENTRYPOINT; name a command after the image")]
    NoCommand,
    /// Something about what was asked is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The container's monitor refused, and says why.
    #[error("{}{refusal}", about(container, refusal))]
    Refused {
        /// The container's name.
        container: String,
        /// What the monitor says.
        refusal: Refusal,
    },
    /// The container's monitor said what makes no sense.
    #[error("cannot understand the monitor of container {container}: {cause}")]
    Monitor {
        /// The container's name.
        container: String,
        /// What is wrong with it.
        cause: FrameError,
    },
    /// The container's monitor speaks another version of its protocol.
    #[error(
        "the monitor of container {container} is of another version of Moat (its protocol is {version}): use the moat \
         that started it, or end it with `moat rm -f {container}`"
    )]
    MonitorVersion {
        /// The container's name.
        container: String,
        /// The version of the monitor's protocol.
        version: u8,
    },
    /// The connection to the container's monitor broke.
    #[error("lost the container's monitor; 'moat ps -a' tells what became of the container: {0}")]
    Lost(FrameError),
    /// The container ended or started each time that its monitor was asked.
    #[error("container {0} starts and ends again and again; try again")]
    Unsteady(String),
    /// The container's first process could not be started.
    #[error("cannot start container {container}: {message}")]
    Start {
        /// The container's name.
        container: String,
        /// Docker's exit code for it: 125, 126 or 127.
        code: u8,
        /// What was wrong.
        message: String,
    },
    /// What was asked of a running container was asked of one that does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container keeps no log.
    #[error(
        "configured logging driver does not support reading: container {0} was created with --log-driver none"
    )]
    NoLog(String),
    /// A container's log cannot be read.
    #[error("cannot read the log of {container}: {source}")]
    Log {
        /// The container's name.
        container: String,
        /// What happened.
        source: io::Error,
    },
    /// No exec has this id.
    #[error("No such exec instance: {0}")]
    NoExec(String),
    /// An image could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Networks could not be used.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The writable disk could not be made.
    #[error("cannot create the writable disk: {0}")]
    Writable(#[from] moat_rootfs::writable::Error),
    /// The host refused something.
    #[error("cannot {action}: {source}")]
    Host {
        /// What was to be done.
        action: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// An image could not be pulled.
    #[error("cannot pull {image}: {cause}")]
    Pull {
        /// Its name.
        image: String,
        /// What happened.
        #[source]
        cause: Box<RegistryError>,
    },
    /// An image could not be pushed.
    #[error("cannot push {image}: {cause}")]
    Push {
        /// Its name.
        image: String,
        /// What happened.
        #[source]
        cause: Box<RegistryError>,
    },
    /// A registry could not be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// All tags of a repository were to be pulled.
    #[error("{0} has no tags")]
    NoTags(String),
    /// The store has nothing to push under the name.
    #[error("An image does not exist locally with the tag: {0}")]
    NoLocalTag(String),
    /// Only tags are pushed.
    #[error("cannot push a digest reference")]
    PushDigest,
    /// A name by digest was to be given to an image.
    #[error("refusing to create a tag with a digest reference")]
    TagWithDigest,
    /// An image could not be made from an archive.
    #[error("cannot import {archive}: {cause}")]
    Import {
        /// Where the archive comes from.
        archive: String,
        /// What happened.
        #[source]
        cause: StoreError,
    },
    /// An image's config cannot be changed like that.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// There is no such driver for networks.
    #[error("could not find plugin {0} in v1 plugin registry: the only driver here is bridge")]
    NetworkDriver(String),
    /// There is no such option for networks.
    #[error("unknown option {0}: there are {MTU_OPTION}, {BRIDGE_NAME_OPTION} and {MASQUERADE_OPTION}")]
    NetworkOption(String),
    /// Files could not be copied.
    #[error(transparent)]
    Archive(Box<ArchiveError>),
}

impl From<ArchiveError> for EngineError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Engine(e) => e,
            ArchiveError::Store(e) => Self::Store(e),
            other => Self::Archive(Box::new(other)),
        }
    }
}

impl EngineError {
    /// For `map_err`: the host refused to do `action`.
    pub(crate) fn host(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host { action, source }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Container(e) => e.kind(),
            Self::Stuck(_) => ErrorKind::Busy,
            Self::Platform { .. } => ErrorKind::Unsupported,
            Self::NoCommand | Self::Invalid(_) => ErrorKind::Invalid,
            Self::Refused { refusal, .. } => refusal.kind,
            Self::Monitor { .. } | Self::Lost(_) | Self::Start { .. } => ErrorKind::Host,
            Self::MonitorVersion { .. } | Self::NoLog(_) => ErrorKind::Unsupported,
            Self::Unsteady(_) => ErrorKind::Busy,
            Self::NotRunning(_) => ErrorKind::IllegalState,
            Self::NoExec(_) => ErrorKind::NotFound,
            Self::Store(e) => e.kind(),
            Self::Record(e) => e.kind(),
            Self::Network(e) => e.kind(),
            Self::Writable(_) => ErrorKind::Host,
            Self::Host { source, .. } | Self::Log { source, .. } => source.into(),
            Self::Pull { cause, .. } | Self::Push { cause, .. } => cause.kind(),
            Self::Registry(e) => e.kind(),
            Self::NoTags(_) | Self::NoLocalTag(_) => ErrorKind::NotFound,
            Self::PushDigest | Self::TagWithDigest | Self::Change(_) | Self::NetworkOption(_) => {
                ErrorKind::Invalid
            }
            Self::Import { cause, .. } => cause.kind(),
            Self::NetworkDriver(_) => ErrorKind::Unsupported,
            Self::Archive(e) => e.kind(),
        }
    }

    /// The container's state, where that is what does not allow what was asked.
    pub fn state(&self) -> Option<Status> {
        match self {
            Self::Container(e) => e.state(),
            Self::Refused { refusal, .. } => refusal.state,
            _ => None,
        }
    }
}

/// The container's name in front of a refusal that does not name it.
fn about(container: &str, refusal: &Refusal) -> String {
    if refusal.names_container { String::new() } else { format!("container {container}: ") }
}
