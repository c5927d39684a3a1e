//! Networks on the host: their records, who has which address, bridges, taps, published ports and the firewall.
//!
//! ```text
//! record     a network on disk                     endpoint   what a running container has of networks
//! subnet     who gets which address                request    what a user asks for
//! port       published ports                       publish    the sockets that hold them; holder: whose they are
//! link, tap  bridges and the containers' cables    firewall   what may pass them
//! forwarding the host passes packets on            conntrack  flows that led to who is gone
//! attach     all of it for one container: up before its VM starts, down after it has ended; change: while it runs
//! names      who a container's neighbours are, for the name server
//! ```
//! ```text
//! ROOT/networks/
//!   lock              held while a network is made or removed, and while a container gets its addresses
//!   records/ID        a network
//!   attached/ID       a running container's place in its networks
//!   forwarding        what Moat has turned on since the host was booted
//! ```
//! Nothing on the host outlives its need: a tap ends with the VM's process, a published port's socket with the monitor.
//! What does outlive a crash, the record in `attached` and the container's elements in the firewall, is swept by
//! the next command ([`Networks::sweep`]); the record is written before the elements and removed after them.

pub mod attach;
mod change;
mod conntrack;
pub mod dns;
pub mod endpoint;
pub mod events;
pub mod firewall;
mod forwarding;
mod holder;
pub mod link;
pub mod mac;
mod manage;
mod names;
pub mod port;
pub mod publish;
pub mod record;
pub mod request;
pub mod subnet;
pub mod tap;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use thiserror::Error;

use attach::MAX_NETWORKS;
use endpoint::Attachment;
use firewall::Firewall;
use moat_records::format::Record;
use moat_records::id::ContainerId;
use moat_records::kind::ErrorKind;
use moat_records::record::{Lock, RecordError, is_temporary, read};
use moat_records::root::{DEFAULT_ROOT, Root};
use record::Network;

pub use manage::CreateNetwork;
pub use names::Neighbours;

use moat_netlink as netlink;

/// What can go wrong with networks.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// No network has this name or id.
    #[error("network {0} not found")]
    NotFound(String),
    /// Several networks have ids that start so.
    #[error("network {0} is ambiguous: several ids start so; give more digits")]
    Ambiguous(String),
    /// The name is another network's.
    #[error("network with name {0} already exists")]
    NameTaken(String),
    /// It cannot be removed.
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    /// Containers that run are on it.
    #[error("error while removing network: network {name} has active endpoints ({users}); stop them first")]
    InUse {
        /// The network.
        name: String,
        /// The containers.
        users: String,
    },
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The container is on the network already.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyJoined {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// The container asks for more than its virtual machine has room for.
    #[error("a container joins at most {MAX_NETWORKS} networks")]
    TooMany,
    /// The container runs without networks.
    #[error(
        "the container was started without networks, so its virtual machine has no room for a card: stop it, connect it and start it again"
    )]
    NoCards,
    /// There is no subnet left to give out.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network; name one with --subnet"
    )]
    NoSubnet,
    /// The subnet is in use.
    #[error(
        "Pool overlaps with other one on this address space: {subnet} and {other}; choose another --subnet"
    )]
    Overlap {
        /// What was asked for.
        subnet: IpNet,
        /// What has addresses of it.
        other: IpNet,
    },
    /// No address is left.
    #[error("no available IPv4 addresses on network {0}: its subnet is full")]
    Full(String),
    /// The address is another container's.
    #[error("Address already in use: {address} is container {holder}'s")]
    AddressTaken {
        /// What was asked for.
        address: IpAddr,
        /// Whose it is.
        holder: String,
    },
    /// A port is in use.
    #[error("Bind for {address} failed: port is already allocated{}", holder.as_ref().map(|who| format!(" by {who}")).unwrap_or_default())]
    PortTaken {
        /// The host's address and port.
        address: String,
        /// The container or program that has it, as far as that is known.
        holder: Option<String>,
    },
    /// A record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The host would not do something.
    #[error("cannot {action}: {source}{}", hint(source))]
    Host {
        /// What was to be done.
        action: &'static str,
        /// What happened.
        source: io::Error,
    },
}

impl NetworkError {
    /// Whether the text names the container that asked.
    pub fn names_container(&self) -> bool {
        matches!(self, Self::AlreadyJoined { .. })
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::NameTaken(_)
            | Self::InUse { .. }
            | Self::AlreadyJoined { .. }
            | Self::Overlap { .. }
            | Self::AddressTaken { .. }
            | Self::PortTaken { .. } => ErrorKind::Conflict,
            Self::Ambiguous(_) | Self::Predefined(_) | Self::Invalid(_) | Self::TooMany => ErrorKind::Invalid,
            Self::NoCards => ErrorKind::Unsupported,
            Self::NoSubnet | Self::Full(_) => ErrorKind::NoSpace,
            Self::Record(e) => e.kind(),
            Self::Host { source, .. } => source.into(),
        }
    }

    fn host(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host { action, source }
    }
}

/// What can be done about an error of the host.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; networks need root (or --network none)",
        _ => "; 'moat doctor' tells what this host lacks, and --network none needs none of it",
    }
}

/// The networks under one root directory.
#[derive(Debug, Clone)]
pub struct Networks {
    directory: PathBuf,
    containers: PathBuf,
    is_default_root: bool,
}

impl Networks {
    /// The networks of `root`.
    pub fn of(root: &Root) -> Self {
        Self {
            directory: root.networks(),
            containers: root.containers(),
            is_default_root: root.path() == std::path::Path::new(DEFAULT_ROOT),
        }
    }

    fn records(&self) -> PathBuf {
        self.directory.join("records")
    }

    fn attached(&self) -> PathBuf {
        self.directory.join("attached")
    }

    fn attachment_path(&self, container: &ContainerId) -> PathBuf {
        self.attached().join(container.as_str())
    }

    fn lock(&self) -> Result<Lock, NetworkError> {
        Ok(Lock::wait(&self.directory.join("lock"))?)
    }

    /// All networks, by name. The default one appears with its first use.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn list(&self) -> Result<Vec<Network>, NetworkError> {
        let mut networks: Vec<Network> = self.read_all(self.records())?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// The network that `wanted` names: a name, an id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn find(&self, wanted: &str) -> Result<Network, NetworkError> {
        if wanted == record::DEFAULT {
            return self.ensure_default();
        }
        self.look_up(wanted)
    }

    /// The same for a caller that holds the lock: what is found stays.
    fn find_locked(&self, wanted: &str) -> Result<Network, NetworkError> {
        if wanted == record::DEFAULT { self.ensure_default_locked() } else { self.look_up(wanted) }
    }

    fn look_up(&self, wanted: &str) -> Result<Network, NetworkError> {
        let networks = self.list()?;
        if let Some(network) = networks.iter().find(|network| network.name == wanted) {
            return Ok(network.clone());
        }
        let mut matching = networks
            .into_iter()
            .filter(|network| !wanted.is_empty() && network.id.as_str().starts_with(wanted));
        let network = matching.next().ok_or_else(|| NetworkError::NotFound(wanted.to_owned()))?;
        match matching.next() {
            Some(_) => Err(NetworkError::Ambiguous(wanted.to_owned())),
            None => Ok(network),
        }
    }

    /// The running containers' places in networks.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>, NetworkError> {
        self.read_all(self.attached())
    }

    /// A container's place in its networks; nothing when it does not run, or has no network.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn attachment(&self, container: &ContainerId) -> Result<Option<Attachment>, NetworkError> {
        match read(&self.attachment_path(container)) {
            Err(e) if e.is_not_found() => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    fn read_all<T: Record>(&self, directory: PathBuf) -> Result<Vec<T>, NetworkError> {
        let entries = match std::fs::read_dir(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(NetworkError::host("list the networks"))?,
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            if is_temporary(&entry.file_name().to_string_lossy()) {
                continue;
            }
            match read(&entry.path()) {
                // It went away in this moment.
                Err(e) if e.is_not_found() => {}
                other => all.push(other?),
            }
        }
        Ok(all)
    }

    /// Takes back what `container` had of networks. Only the holder of the container's lock may.
    ///
    /// # Errors
    /// When the firewall refuses; it can be tried again.
    pub fn release(&self, container: &ContainerId) -> Result<(), NetworkError> {
        if !self.attachment_path(container).exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.release_locked(container)?;
        self.remove_idle_bridge()
    }

    /// A root directory of one's own may be deleted with all that is in it. So its default network, which no
    /// command makes or removes, has a bridge only while a container is on it.
    fn remove_idle_bridge(&self) -> Result<(), NetworkError> {
        if self.is_default_root {
            return Ok(());
        }
        let Some(network) = self.list()?.into_iter().find(Network::is_default) else { return Ok(()) };
        let attachments = self.attachments()?;
        let mut endpoints = attachments.iter().flat_map(|attachment| &attachment.endpoints);
        if endpoints.any(|endpoint| endpoint.network == network.id) {
            return Ok(());
        }
        network.dismantle()
    }

    fn release_locked(&self, container: &ContainerId) -> Result<(), NetworkError> {
        let path = self.attachment_path(container);
        if let Some(attachment) = self.attachment(container)? {
            Self::expel(&attachment)?;
        }
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(NetworkError::host("remove the container from its networks")(e))
            }
            _ => Ok(()),
        }
    }

    fn expel(attachment: &Attachment) -> Result<(), NetworkError> {
        let expel = || Firewall::open()?.expel(attachment);
        expel().map_err(NetworkError::host("take the container out of the firewall"))?;
        conntrack::forget_endpoints(&attachment.endpoints);
        Ok(())
    }

    /// Takes back what containers have of networks that no longer run: their monitors were killed. What cannot be taken
    /// back stays recorded, so that no other container gets it. The caller holds the lock.
    fn sweep(&self) -> Result<(), NetworkError> {
        for attachment in self.attachments()? {
            let lock = self.containers.join(attachment.container.as_str()).join("lock");
            match Lock::attempt(&lock) {
                // It runs.
                Ok(None) => {}
                // No command starts it while its lock is held here.
                Ok(Some(_dead)) => self.sweep_one(&attachment.container),
                Err(e) if e.is_not_found() => self.sweep_one(&attachment.container),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn sweep_one(&self, container: &ContainerId) {
        if let Err(e) = self.release_locked(container) {
            tracing::warn!("what container {} had of networks stays taken: {e}", container.short());
        }
    }
}
