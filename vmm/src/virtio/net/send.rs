//! Frames from the guest.

use std::io::ErrorKind;
use std::time::Duration;

use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::GuestMemoryMmap;

use super::frame::{BUDGET, HEADER_BYTES, MAX_DESCRIPTORS, MAX_FRAME};
use super::tap::Tap;
use crate::virtio::buffers::Buffers;
use crate::virtio::error::Fault;
use crate::virtio::interrupt::Interrupt;
use crate::virtio::queue::ActiveQueue;
use crate::virtio::rate::Gate;

/// The addresses and type in front of every frame, in bytes.
const ETHERNET_HEADER: u64 = 14;

/// One transmit queue.
pub struct Sender {
    queue: ActiveQueue,
    /// The tap took no more.
    blocked: bool,
}

impl Sender {
    /// A sender.
    pub fn new(queue: ActiveQueue) -> Self {
        Self { queue, blocked: false }
    }

    /// The queue.
    pub fn queue(&mut self) -> &mut ActiveQueue {
        &mut self.queue
    }

    /// Whether the tap took no more.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The tap takes frames again.
    pub fn wake(&mut self) {
        self.blocked = false;
    }

    /// Sends what the guest has offered for as long as the tap takes it and `gate` lets it through; at most [`BUDGET`] frames.
    /// Returns how long to wait for the gate.
    ///
    /// A frame that the host's kernel does not accept is dropped, as a wire would.
    pub fn run(
        &mut self,
        memory: &GuestMemoryMmap,
        tap: &Tap,
        gate: &mut Gate,
        interrupt: &Interrupt,
    ) -> Result<Option<Duration>, Fault> {
        let ActiveQueue { queue, kick } = &mut self.queue;
        let mut budget = BUDGET;
        let mut wait = None;
        let mut used = false;
        queue.disable_notification(memory)?;
        while !self.blocked {
            if budget == 0 {
                kick.write(1)?;
                break;
            }
            wait = gate.wait();
            if wait.is_some() {
                break;
            }
            // Not pop_descriptor_chain: it hides a broken ring.
            let Some(chain) = queue.iter(memory)?.next() else {
                if queue.enable_notification(memory)? {
                    queue.disable_notification(memory)?;
                    continue;
                }
                break;
            };
            let head = chain.head_index();
            let frame = Buffers::new(memory, chain, MAX_DESCRIPTORS)?.readable;
            let length = frame.len();
            if (HEADER_BYTES as u64 + ETHERNET_HEADER..=MAX_FRAME).contains(&length) {
                match tap.write(frame.slices().iter()) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        queue.go_to_previous_position();
                        self.blocked = true;
                        break;
                    }
                    _ => gate.pass(length - HEADER_BYTES as u64),
                }
            }
            queue.add_used(memory, head, 0)?;
            used = true;
            budget -= 1;
        }
        if used && queue.needs_notification(memory)? {
            interrupt.signal_used();
        }
        Ok(wait)
    }
}
