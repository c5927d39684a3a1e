//! The network device (virtio 1.2, section 5.1): frames between a tap of the host and the guest.
//!
//! ```text
//!  guest              worker thread                        host
//!  receive queue <--- Receiver <---.
//!  transmit queue --> Sender   ---->--- Tap, one per pair -- its kernel: bridge, routes, firewall
//!  control queue ---> which pairs are in use
//! ```
//! - Each frame goes between guest memory and the tap in one system call, without a copy in between. The header in front of
//!   it tells the kernel on the other side which checksums and segments are still to be made.
//! - The device does not look into a frame. The host's firewall says whom a guest may reach, and as whom.
//! - The launcher makes the taps. This process has no access to the network they belong to, and none to any other.
//! - One thread serves all pairs, because they share one interrupt and the limits.

mod config;
mod control;
mod engine;
mod frame;
pub mod place;
mod receive;
mod send;
mod syscalls;
pub mod tap;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN,
    VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};

pub use self::config::{MAX_QUEUE_PAIRS, MIN_MTU, NetworkCard, NetworkConfig, NetworkPlace};
use self::engine::{Engine, Gates, Pair};
use self::frame::{ETHERNET_BYTES, HEADER_BYTES, MAX_FRAME};
use self::place::{Place, Server};
use self::receive::Receiver;
use self::send::Sender;
pub use self::syscalls::SYSCALLS;
use self::tap::Tap;
use super::absent::Absent;
use super::device::{Activation, VirtioDevice, read_fields};
use super::error::{ActivateError, LifecycleError};
use super::plan::{BuildError, Built, Claimed, Name, Plan, Site};
use super::queue::Queues;
use crate::fds::{Access, FdError, InheritedFds};
use crate::range::{self, OutOfRange};
use crate::virtio::rate::Gate;
use crate::virtio::worker::Worker;

/// Entries of each receive and transmit queue. In buffers of 1.5 KiB this is twice what the largest frames need.
const QUEUE_SIZE: u16 = 256;
/// Entries of the control queue.
const CONTROL_SIZE: u16 = 16;

/// The configuration space up to the last field in use (section 5.1.4).
const CONFIG_BYTES: usize = 12;

impl Plan for NetworkPlace {
    fn check(&self, name: &Name) -> Result<(), OutOfRange> {
        let Self::Card(NetworkConfig { taps, card }) = self else { return Ok(()) };
        let what = format!("the number of taps of {name}");
        range::check(&what, taps.len() as u64, 1..=MAX_QUEUE_PAIRS as u64)?;
        range::check(&format!("the MTU of {name}"), card.mtu.into(), MIN_MTU.into()..=u16::MAX.into())
    }

    fn claim(&self, name: &Name, fds: &mut InheritedFds) -> Result<Box<dyn Claimed>, FdError> {
        Ok(Box::new(match self {
            Self::Spare {} => Cable::None,
            Self::Card(NetworkConfig { taps, card }) => {
                let taps = taps.iter().map(|tap| fds.take(*tap, &name.to_string(), Access::Both));
                Cable::Taps(taps.collect::<Result<_, _>>()?, *card)
            }
        }))
    }
}

/// What is connected to a place from the start.
enum Cable {
    None,
    Taps(Vec<OwnedFd>, NetworkCard),
}

impl Claimed for Cable {
    fn build(self: Box<Self>, site: &mut Site<'_>) -> Result<Built, BuildError> {
        // A guest uses no more than it has processors.
        let mut pairs = usize::from(site.vcpus).min(MAX_QUEUE_PAIRS);
        let places = &mut site.handles.places;
        let server = place::server(&format!("net{}", places.len()))?;
        let taken = matches!(*self, Self::Taps(..));
        let device: Box<dyn VirtioDevice> = match *self {
            Self::None => Box::new(Absent),
            Self::Taps(taps, card) => {
                pairs = pairs.max(taps.len());
                let taps = taps.into_iter().map(Tap::new).collect::<Result<_, _>>()?;
                Box::new(Net::new(Arc::clone(&server), taps, &card))
            }
        };
        places.push(Place { device: site.device, server, pairs, taken });
        Ok(Built { device, queues: place::queues(pairs) })
    }
}

/// The device.
pub struct Net {
    server: Server,
    taps: Arc<[Tap]>,
    mtu: u16,
    queue_sizes: Vec<u16>,
    config: [u8; CONFIG_BYTES],
    gates: Arc<Mutex<Gates>>,
}

impl Net {
    /// A device on `taps`, one per queue pair, that `server` will serve.
    pub fn new(server: Server, taps: Vec<Tap>, card: &NetworkCard) -> Self {
        let mut queue_sizes = vec![QUEUE_SIZE; 2 * taps.len()];
        // Without several pairs there is nothing to command.
        if taps.len() > 1 {
            queue_sizes.push(CONTROL_SIZE);
        }
        let mut config = [0; CONFIG_BYTES];
        config[..6].copy_from_slice(&card.mac);
        config[6..8].copy_from_slice(&(VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        config[8..10].copy_from_slice(&(taps.len() as u16).to_le_bytes());
        config[10..].copy_from_slice(&card.mtu.to_le_bytes());
        let gates = Gates { receive: Gate::new(card.receive, None), send: Gate::new(card.send, None) };
        let gates = Arc::new(Mutex::new(gates));
        Self { server, taps: taps.into(), mtu: card.mtu, queue_sizes, config, gates }
    }

    fn worker(&self) -> MutexGuard<'_, Worker<Engine>> {
        // A worker survives a panic of its handler, and on this side nothing can be half done.
        self.server.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whether a feature is among those negotiated.
fn has(features: u64, bit: u32) -> bool {
    features & 1 << bit != 0
}

/// What the driver's features let the tap do.
fn offloads(features: u64) -> libc::c_uint {
    // Each of the others builds on checksums (section 5.1.3.1); a driver that forgot gets none.
    if !has(features, VIRTIO_NET_F_GUEST_CSUM) {
        return 0;
    }
    let flags = [
        (VIRTIO_NET_F_GUEST_CSUM, libc::TUN_F_CSUM),
        (VIRTIO_NET_F_GUEST_TSO4, libc::TUN_F_TSO4),
        (VIRTIO_NET_F_GUEST_TSO6, libc::TUN_F_TSO6),
        (VIRTIO_NET_F_GUEST_ECN, libc::TUN_F_TSO_ECN),
    ];
    let flags = flags.iter().filter(|(bit, _)| has(features, *bit)).fold(0, |sum, (_, flag)| sum | flag);
    // The kernel refuses it alone.
    if flags & (libc::TUN_F_TSO4 | libc::TUN_F_TSO6) == 0 { flags & !libc::TUN_F_TSO_ECN } else { flags }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        const ALWAYS: [u32; 12] = [
            VIRTIO_NET_F_CSUM,
            VIRTIO_NET_F_GUEST_CSUM,
            VIRTIO_NET_F_MTU,
            VIRTIO_NET_F_MAC,
            VIRTIO_NET_F_GUEST_TSO4,
            VIRTIO_NET_F_GUEST_TSO6,
            VIRTIO_NET_F_GUEST_ECN,
            VIRTIO_NET_F_HOST_TSO4,
            VIRTIO_NET_F_HOST_TSO6,
            VIRTIO_NET_F_HOST_ECN,
            VIRTIO_NET_F_MRG_RXBUF,
            VIRTIO_NET_F_STATUS,
        ];
        let several: &[u32] =
            if self.taps.len() > 1 { &[VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ] } else { &[] };
        ALWAYS.iter().chain(several).fold(0, |features, bit| features | 1 << bit)
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_fields(&self.config, offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { features, queues: Queues { memory, queues, interrupt } } = activation;
        let offloads = offloads(features);
        let segments = offloads & (libc::TUN_F_TSO4 | libc::TUN_F_TSO6) != 0;
        let largest =
            if segments { MAX_FRAME } else { HEADER_BYTES as u64 + ETHERNET_BYTES + u64::from(self.mtu) };
        let mergeable = has(features, VIRTIO_NET_F_MRG_RXBUF);
        let mut queues = queues.into_iter();
        let mut pairs = Vec::new();
        for _ in 0..self.taps.len() {
            let (Some(receive), Some(send)) = (queues.next(), queues.next()) else {
                return Err(io::Error::other("a network device has two queues for each tap").into());
            };
            let receiver = Receiver::new(receive, mergeable, largest);
            pairs.push(Pair { receiver, sender: Sender::new(send) });
        }
        let engine = Engine {
            memory,
            interrupt: Arc::clone(&interrupt),
            taps: Arc::clone(&self.taps),
            offloads,
            pairs,
            control: queues.next(),
            gates: Arc::clone(&self.gates),
            alarm: None,
        };
        self.worker().start(engine, interrupt)
    }

    fn pause(&mut self) -> Result<(), LifecycleError> {
        self.worker().pause()
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(self.worker().resume()?)
    }

    fn reset(&mut self) {
        self.worker().stop();
    }
}
