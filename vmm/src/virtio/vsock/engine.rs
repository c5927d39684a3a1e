//! What runs on the worker's thread: packets between the queues and the table of connections.

use std::sync::Arc;

use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

use super::header::HEADER_SIZE;
use super::switch::Switch;
use crate::virtio::buffers::Buffers;
use crate::virtio::error::Fault;
use crate::virtio::interrupt::Interrupt;
use crate::virtio::queue::ActiveQueue;
use crate::virtio::worker::{Events, Handler};

const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;

/// Descriptors of one packet: Linux makes them from up to 17 fragments and a header.
const MAX_DESCRIPTORS: usize = 64;

/// The queues around the switch.
pub struct Engine {
    /// The guest's memory.
    pub memory: Arc<GuestMemoryMmap>,
    /// Packets for the guest.
    pub receive: ActiveQueue,
    /// Packets from the guest.
    pub transmit: ActiveQueue,
    /// Stays unused; kept with the others.
    pub _event: ActiveQueue,
    /// How to reach the driver.
    pub interrupt: Arc<Interrupt>,
    /// The connections.
    pub switch: Switch,
}

impl Handler for Engine {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        events.add_event(&self.receive.kick, RECEIVE)?;
        events.add_event(&self.transmit.kick, TRANSMIT)?;
        // Buffers to fill are looked for when there is something to fill them with.
        self.receive.queue.disable_notification(&*self.memory)?;
        Ok(())
    }

    fn event(&mut self, token: u64, ready: EventSet, events: &Events) -> Result<(), Fault> {
        match token {
            RECEIVE => {
                // Already read when the device kicked itself and the driver did too.
                let _ = self.receive.kick.read();
                self.receive.queue.disable_notification(&*self.memory)?;
            }
            TRANSMIT => {
                let Self { memory, transmit, interrupt, switch, .. } = self;
                let memory = &**memory;
                transmit.serve(memory, interrupt, |chain| {
                    let buffers = Buffers::new(memory, chain, MAX_DESCRIPTORS)?;
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
    /// Fills receive buffers as long as there are any and something to fill them with. It stops after a ring's worth, so
    /// that neither guest nor host can keep the worker from its stop event.
    fn deliver(&mut self, events: &Events) -> Result<(), Fault> {
        let Self { memory, receive: ActiveQueue { queue, kick }, interrupt, switch, .. } = self;
        let memory = &**memory;
        let mut budget = queue.size();
        let mut used = false;
        while switch.has_work() {
            if budget == 0 {
                kick.write(1)?;
                break;
            }
            // Not pop_descriptor_chain: it hides a broken ring.
            let Some(chain) = queue.iter(memory)?.next() else {
                if queue.enable_notification(memory)? {
                    continue;
                }
                break;
            };
            let head = chain.head_index();
            let room = Buffers::new(memory, chain, MAX_DESCRIPTORS)?.writable;
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
