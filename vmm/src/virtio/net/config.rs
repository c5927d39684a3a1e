//! The configuration of a network card.

use serde::{Deserialize, Serialize};

use crate::fds::Fd;
use crate::virtio::rate::RateLimit;

/// A place for a network card. Every card is in one, and can be taken out of it while the VM runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetworkPlace {
    /// A card from the start.
    Card(NetworkConfig),
    /// Room for a card that comes while the VM runs, see [`crate::control::Command::AttachNetwork`]. The booting guest finds
    /// a placeholder there, and a parked thread waits for it.
    Spare {},
}

/// One virtio-net card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The queues of one tap device, each opened for reading and writing and set up with `IFF_TAP`, `IFF_NO_PI` and
    /// `IFF_VNET_HDR`, and with `IFF_MULTI_QUEUE` if there is more than one: each is a pair of queues of the guest.
    /// From 1 to [`MAX_QUEUE_PAIRS`]; more than the VM has virtual CPUs are of no use to a guest.
    pub taps: Vec<Fd>,
    /// What the guest sees of it.
    pub card: NetworkCard,
}

/// A network card as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCard {
    /// Its Ethernet address. The device does not keep the guest from using another one: the host's firewall does.
    pub mac: [u8; 6],
    /// The most bytes of a packet without its Ethernet header, at least [`MIN_MTU`].
    pub mtu: u16,
    /// Bytes of frames for the guest. Frames above the limit wait in the tap's queue until that drops them.
    pub receive: Option<RateLimit>,
    /// Bytes of frames from the guest.
    pub send: Option<RateLimit>,
}

/// The most queue pairs of a network card, so the most descriptors that come with one.
pub const MAX_QUEUE_PAIRS: usize = 8;

/// The least MTU: what IPv4 asks of every link (RFC 791).
pub const MIN_MTU: u16 = 68;
