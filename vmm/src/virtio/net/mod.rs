//! The network device (virtio 1.2, section 5.1): frames between a tap of the host and the guest.
//!
//! ```text
//!  guest              worker thread                        host
//!  receive queue <--- Receiver <---.
//!  transmit queue --> Sender   ---->--- Tap, one per pair -- its kernel: bridge, routes, firewall
//!  control queue ---> which pairs are in use
//! ```
//! - Frames go between guest memory and the tap in one system call each, without a copy in between, checksums and
//!   segmentation left to whoever has the hardware: the kernel on the other side knows them by the header in front of each.
//! - Nothing here looks into a frame: whom a guest may reach, and as whom, is for the host's firewall to say.
//! - The taps are made by the launcher. This process has no access to the network they belong to, and none to any other.
//! - All pairs are served by one thread, because they share one interrupt and the limits.

mod control;
mod engine;
mod receive;
mod send;
pub mod tap;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN,
    VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};

use self::engine::{Engine, Gates, Pair};
use self::receive::Receiver;
use self::send::Sender;
use self::tap::Tap;
use super::device::{ActivateError, Activation, VirtioDevice};
use crate::config::NetworkCard;
use crate::rate::Gate;
use crate::thread::ThreadKind;
use crate::worker::Worker;

/// The header in front of each frame, in bytes (section 5.1.6); all of its fields are there since version 1.
const HEADER_BYTES: usize = 12;
/// The most bytes of a frame with its header: a packet of 64 KiB, to be cut by whoever sends it, with the addresses, type
/// and tag of Ethernet.
const MAX_FRAME: u64 = HEADER_BYTES as u64 + 18 + 65_535;
/// Descriptors of one frame: Linux makes them from up to 17 fragments, a head and a header.
const MAX_DESCRIPTORS: usize = 64;
/// Frames that a queue moves before the others get their turn.
const BUDGET: usize = 64;

/// Entries of each receive and transmit queue. In buffers of 1.5 KiB this is twice what the largest frames need.
const QUEUE_SIZE: u16 = 256;
/// Entries of the control queue.
const CONTROL_SIZE: u16 = 16;

/// The configuration space up to the last field in use (section 5.1.4).
const CONFIG_BYTES: usize = 12;

/// A thread that serves one network device at a time. Devices can come and go while the VM runs, threads cannot.
pub type Server = Arc<Mutex<Worker<Engine>>>;

/// Starts a thread, parked.
///
/// # Errors
/// When there is none to be had.
pub fn server(name: &str) -> io::Result<Server> {
    Ok(Arc::new(Mutex::new(Worker::spawn(ThreadKind::Net, name)?)))
}

/// How many queues a device with so many pairs has.
pub fn queues(pairs: usize) -> usize {
    2 * pairs + usize::from(pairs > 1)
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
        config[..6].copy_from_slice(&card.mac.0);
        config[6..8].copy_from_slice(&(VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        config[8..10].copy_from_slice(&(taps.len() as u16).to_le_bytes());
        config[10..].copy_from_slice(&card.mtu.to_le_bytes());
        let gates = Gates { receive: Gate::new(card.receive, None), send: Gate::new(card.send, None) };
        let gates = Arc::new(Mutex::new(gates));
        Self { server, taps: taps.into(), mtu: card.mtu, queue_sizes, config, gates }
    }

    fn worker(&self) -> std::sync::MutexGuard<'_, Worker<Engine>> {
        // A worker survives whatever happens on its thread, and on this side nothing can be half done.
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
        data.fill(0);
        let rest =
            usize::try_from(offset).ok().and_then(|offset| self.config.get(offset..)).unwrap_or_default();
        let count = rest.len().min(data.len());
        data[..count].copy_from_slice(&rest[..count]);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { memory, features, queues, interrupt } = activation;
        let offloads = offloads(features);
        let segments = offloads & (libc::TUN_F_TSO4 | libc::TUN_F_TSO6) != 0;
        let largest = if segments { MAX_FRAME } else { (HEADER_BYTES + 18) as u64 + u64::from(self.mtu) };
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

    fn reset(&mut self) {
        self.worker().stop();
    }
}
