//! Frames for the guest. Its buffers are taken from the queue once, and kept until frames have filled them: how many a
//! frame needs is known only when it has been read.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::frame::{BUDGET, HEADER_BYTES, MAX_DESCRIPTORS};
use super::tap::Tap;
use crate::log;
use crate::virtio::buffers::{ChainError, Span, descriptors};
use crate::virtio::error::Fault;
use crate::virtio::interrupt::Interrupt;
use crate::virtio::queue::{ActiveQueue, add_used_together, driver_waits};
use crate::virtio::rate::Gate;

/// Where the header has the number of buffers (section 5.1.6).
const NUM_BUFFERS: u64 = 10;

/// A buffer of the guest: one chain.
struct Buffer {
    head: u16,
    /// How many of [`Receiver::pieces`] it has.
    pieces: usize,
    /// Its size in bytes.
    room: u32,
}

/// One receive queue.
pub struct Receiver {
    queue: ActiveQueue,
    /// Buffers taken and not filled, in order; at most as many as the queue has entries.
    buffers: VecDeque<Buffer>,
    /// The pieces of those buffers, checked to be guest memory.
    pieces: VecDeque<(GuestAddress, usize)>,
    /// Bytes in them.
    room: u64,
    /// Whether one frame may go over several buffers.
    mergeable: bool,
    /// The most bytes of a frame with its header.
    largest: u64,
    /// The tap may have a frame.
    ready: bool,
}

impl Receiver {
    /// A receiver for frames of up to `largest` bytes.
    pub fn new(queue: ActiveQueue, mergeable: bool, largest: u64) -> Self {
        let (buffers, pieces) = (VecDeque::new(), VecDeque::new());
        Self { queue, buffers, pieces, room: 0, mergeable, largest, ready: true }
    }

    /// The queue.
    pub fn queue(&mut self) -> &mut ActiveQueue {
        &mut self.queue
    }

    /// The tap has a frame.
    pub fn wake(&mut self) {
        self.ready = true;
    }

    /// Reads frames while there are frames and buffers and `gate` lets them through, at most [`BUDGET`], so that the other
    /// queues get their turn and the worker sees its stop event. Returns how long to wait for the gate.
    ///
    /// Without buffers the tap is left alone until the guest offers some: what comes meanwhile fills the tap's own queue
    /// and is dropped there.
    pub fn run(
        &mut self,
        memory: &GuestMemoryMmap,
        tap: &Tap,
        gate: &mut Gate,
        interrupt: &Interrupt,
    ) -> Result<Option<Duration>, Fault> {
        let before = self.queue.queue.next_used();
        self.queue.queue.disable_notification(memory)?;
        let mut budget = BUDGET;
        let mut wait = None;
        while self.ready {
            if budget == 0 {
                self.queue.kick.write(1)?;
                break;
            }
            wait = gate.wait();
            if wait.is_some() || !self.stock(memory)? {
                break;
            }
            let mut span = self.span(memory)?;
            match tap.read(span.slices().iter()) {
                Ok(length) if length < HEADER_BYTES => self.ready = length > 0,
                Ok(length) => {
                    let filled = self.fill(length as u64);
                    span.take(NUM_BUFFERS);
                    span.write(&(filled.len() as u16).to_le_bytes());
                    add_used_together(&mut self.queue.queue, memory, &filled)?;
                    gate.pass((length - HEADER_BYTES) as u64);
                    budget -= 1;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // The device is down or gone. If it comes back, the tap becomes readable.
                    if error.kind() != ErrorKind::WouldBlock {
                        log::host(format_args!("net: reading from the tap: {error}"));
                    }
                    self.ready = false;
                }
            }
        }
        if driver_waits(&self.queue.queue, memory, before)? {
            interrupt.signal_used();
        }
        Ok(wait)
    }

    /// Takes buffers until the largest frame fits. Without enough of them the guest will say when there are more.
    fn stock(&mut self, memory: &GuestMemoryMmap) -> Result<bool, Fault> {
        loop {
            let all = self.buffers.len() == usize::from(self.queue.queue.size());
            if self.room >= self.largest || all || !self.mergeable && !self.buffers.is_empty() {
                return Ok(true);
            }
            // Not pop_descriptor_chain: it hides a broken ring.
            if let Some(chain) = self.queue.queue.iter(memory)?.next() {
                self.take(memory, chain)?;
            } else if !self.queue.queue.enable_notification(memory)? {
                return Ok(false);
            }
        }
    }

    fn take(
        &mut self,
        memory: &GuestMemoryMmap,
        chain: DescriptorChain<&GuestMemoryMmap>,
    ) -> Result<(), Fault> {
        let mut buffer = Buffer { head: chain.head_index(), pieces: 0, room: 0 };
        descriptors(chain, MAX_DESCRIPTORS, |descriptor| {
            if !descriptor.is_write_only() {
                return Err(ChainError::ReadOnly);
            }
            for slice in memory.get_slices(descriptor.addr(), descriptor.len() as usize) {
                slice.map_err(|_| ChainError::Outside)?;
            }
            if descriptor.len() > 0 {
                self.pieces.push_back((descriptor.addr(), descriptor.len() as usize));
                buffer.pieces += 1;
            }
            buffer.room = buffer.room.checked_add(descriptor.len()).ok_or(ChainError::TooLarge)?;
            Ok(())
        })?;
        if (buffer.room as usize) < HEADER_BYTES {
            return Err(Fault::Guest("a receive buffer without room for a header"));
        }
        self.room += u64::from(buffer.room);
        self.buffers.push_back(buffer);
        Ok(())
    }

    /// The memory for the next frame.
    fn span<'a>(&self, memory: &'a GuestMemoryMmap) -> Result<Span<'a>, Fault> {
        let pieces = match self.buffers.front() {
            Some(buffer) if !self.mergeable => buffer.pieces,
            _ => self.pieces.len(),
        };
        let mut span = Span::default();
        for (address, length) in self.pieces.iter().take(pieces) {
            if span.len() >= self.largest {
                break;
            }
            for slice in memory.get_slices(*address, *length) {
                // Checked when it was taken, and memory does not shrink.
                span.push(slice.map_err(|_| ChainError::Outside)?);
            }
        }
        Ok(span)
    }

    /// Lets go of the buffers that a frame of `length` bytes has filled: their heads and how much is in each.
    fn fill(&mut self, mut length: u64) -> Vec<(u16, u32)> {
        let mut filled = Vec::with_capacity(1);
        while length > 0 {
            let Some(buffer) = self.buffers.pop_front() else { break };
            self.pieces.drain(..buffer.pieces);
            self.room -= u64::from(buffer.room);
            let part = u64::from(buffer.room).min(length);
            length -= part;
            filled.push((buffer.head, part as u32));
        }
        filled
    }
}
