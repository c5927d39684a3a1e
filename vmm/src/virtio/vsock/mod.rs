//! The vsock device (virtio 1.2, section 5.10): streams between the guest and the host, opened by the guest only.
//!
//! ```text
//!  guest           worker thread                         launcher
//!  tx queue -----> Switch: table of connections
//!  rx queue <-----   Connection <-- unix socket pair --> one end, received on `dial` with the port
//! ```
//! - There is no dialling the guest: the host's ports are the launcher's to serve, and nothing here listens.
//! - Bytes of the guest go from its memory into the socket and back without a copy in between; only what a full socket
//!   does not take is kept, within the credit that the guest was given.
//! - The guest's mistakes cost it the connection (RST) or, where the rings themselves are broken, the device.
//! - A reset closes all connections. Bytes in a backlog are then gone, as they are when the VM stops: whoever needs to
//!   know that a message arrived waits for an answer before powering off.
//!
//! The device does not watch `dial`: the main thread keeps a duplicate of that descriptor and waits for `EPOLLHUP` on
//! it, from before the guest runs until the VM stops, whether the driver ever activates the device or not.

mod connection;
mod dial;
mod header;
mod switch;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

use self::header::HEADER_SIZE;
use self::switch::Switch;
use super::device::{ActivateError, Activation, ActiveQueue, Fault, VirtioDevice};
use super::interrupt::Interrupt;
use super::queue::Buffers;
use crate::thread::ThreadKind;
use crate::worker::{Events, Handler, Worker};

pub use self::switch::MAX_CONNECTIONS;

/// Receive, transmit, event. Linux fills the receive queue with buffers of 4 KiB that take 8 KiB of the guest's memory
/// each, so this queue is what the device costs an idle guest. The event queue tells of migrations and stays unused.
const QUEUE_SIZES: [u16; 3] = [64, 64, 8];
const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;

/// Descriptors of one packet: Linux makes them from up to 17 fragments and a header.
const MAX_DESCRIPTORS: usize = 64;

/// The device.
pub struct Vsock {
    guest_cid: u64,
    dial: Arc<OwnedFd>,
    worker: Worker<Engine>,
}

impl Vsock {
    /// A device whose worker is parked. `guest_cid` and `dial` are those of [`crate::config::VsockConfig`].
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn new(guest_cid: u32, dial: OwnedFd) -> io::Result<Self> {
        let worker = Worker::spawn(ThreadKind::Vsock, "vsock")?;
        Ok(Self { guest_cid: guest_cid.into(), dial: Arc::new(dial), worker })
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// None: without feature bits the device has streams only.
    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let cid = self.guest_cid.to_le_bytes();
        let rest = usize::try_from(offset).ok().and_then(|offset| cid.get(offset..)).unwrap_or_default();
        let count = rest.len().min(data.len());
        data.fill(0);
        data[..count].copy_from_slice(&rest[..count]);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        let [receive, transmit, event]: [ActiveQueue; QUEUE_SIZES.len()] =
            queues.try_into().map_err(|_| io::Error::other("vsock has three queues"))?;
        let engine = Engine {
            memory,
            receive,
            transmit,
            _event: event,
            interrupt: Arc::clone(&interrupt),
            switch: Switch::new(self.guest_cid, Arc::clone(&self.dial)),
        };
        self.worker.start(engine, interrupt)
    }

    fn reset(&mut self) {
        self.worker.stop();
    }
}

/// What runs on the worker's thread: the queues around the switch.
struct Engine {
    memory: GuestMemoryMmap,
    receive: ActiveQueue,
    transmit: ActiveQueue,
    _event: ActiveQueue,
    interrupt: Arc<Interrupt>,
    switch: Switch,
}

impl Handler for Engine {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        events.add_event(&self.receive.kick, RECEIVE)?;
        events.add_event(&self.transmit.kick, TRANSMIT)?;
        // Buffers to fill are looked for when there is something to fill them with.
        self.receive.queue.disable_notification(&self.memory)?;
        Ok(())
    }

    fn event(&mut self, token: u64, ready: EventSet, events: &Events) -> Result<(), Fault> {
        match token {
            RECEIVE => {
                // Already read when the device kicked itself and the driver did too.
                let _ = self.receive.kick.read();
                self.receive.queue.disable_notification(&self.memory)?;
            }
            TRANSMIT => {
                let Self { memory, transmit, interrupt, switch, .. } = self;
                let memory = &*memory;
                transmit.serve(memory, interrupt, |chain| {
                    let buffers = Buffers::new(memory, chain, MAX_DESCRIPTORS).map_err(Fault::Guest)?;
                    switch.packet(buffers.readable, events)?;
                    Ok(Some(0))
                })?;
            }
            socket => self.switch.socket(socket, ready, events)?,
        }
        self.deliver(events)
    }
}

impl Engine {
    /// Fills receive buffers as long as there are any and something to fill them with; at most a ring's worth, so that
    /// the worker sees its stop event whatever guest and host do.
    fn deliver(&mut self, events: &Events) -> Result<(), Fault> {
        let Self { memory, receive: ActiveQueue { queue, kick }, interrupt, switch, .. } = self;
        let mut budget = queue.size();
        let mut used = false;
        while switch.has_work() {
            if budget == 0 {
                kick.write(1)?;
                break;
            }
            // Not pop_descriptor_chain: it hides a broken ring.
            let Some(chain) = queue.iter(&*memory)?.next() else {
                if queue.enable_notification(memory)? {
                    continue;
                }
                break;
            };
            let head = chain.head_index();
            let room = Buffers::new(memory, chain, MAX_DESCRIPTORS).map_err(Fault::Guest)?.writable;
            if room.len() <= HEADER_SIZE as u64 {
                return Err(Fault::Guest("a vsock buffer without room for payload"));
            }
            match switch.fill(room, events)? {
                Some(written) => {
                    queue.add_used(memory, head, written)?;
                    used = true;
                    budget -= 1;
                }
                // The next packet gets the buffer.
                None => queue.go_to_previous_position(),
            }
        }
        if used && queue.needs_notification(memory)? {
            interrupt.signal_used();
        }
        Ok(())
    }
}
