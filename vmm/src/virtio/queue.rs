//! What devices do with a queue: take its chains, check each descriptor once, give the chains back.

use std::sync::atomic::{Ordering, fence};

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use super::device::{ActiveQueue, Fault};
use super::interrupt::Interrupt;

/// A descriptor chain whose descriptors are still to be read.
pub type Chain<'a> = DescriptorChain<&'a GuestMemoryMmap>;

impl ActiveQueue {
    /// After a kick: gives every available chain to `each`, which returns how many bytes it wrote into it, and returns
    /// the chains to the driver.
    ///
    /// At most one ring's worth of chains is taken at a time, so that a driver that never stops adding cannot keep
    /// the worker from its stop event; the queue kicks itself for the rest.
    ///
    /// # Errors
    /// When the rings are broken, or what `each` cannot go on from.
    pub fn serve<'a>(
        &mut self,
        memory: &'a GuestMemoryMmap,
        interrupt: &Interrupt,
        mut each: impl FnMut(Chain<'a>) -> Result<u32, Fault>,
    ) -> Result<(), Fault> {
        // Already read when the queue kicked itself and the driver did too.
        let _ = self.kick.read();
        let mut budget = self.queue.size();
        let mut used = false;
        self.queue.disable_notification(memory)?;
        loop {
            while let Some(chain) = next(&mut self.queue, memory, budget)? {
                budget -= 1;
                let head = chain.head_index();
                let written = each(chain)?;
                self.queue.add_used(memory, head, written)?;
                used = true;
            }
            if budget == 0 {
                self.kick.write(1)?;
                break;
            }
            if !self.queue.enable_notification(memory)? {
                break;
            }
            self.queue.disable_notification(memory)?;
        }
        if used && self.queue.needs_notification(memory)? {
            interrupt.signal_used();
        }
        Ok(())
    }
}

fn next<'a>(queue: &mut Queue, memory: &'a GuestMemoryMmap, budget: u16) -> Result<Option<Chain<'a>>, Fault> {
    if budget == 0 {
        return Ok(None);
    }
    // Not pop_descriptor_chain: it hides a broken ring.
    Ok(queue.iter(memory)?.next())
}

/// Gives chains, each a head and the bytes written into it, back so that the driver sees all of them or none: buffers of
/// one frame. Whether it is to be told is for [`driver_waits`] to say, and for nothing else on this queue.
///
/// # Errors
/// When the used ring cannot be written.
pub fn add_used_together(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    chains: &[(u16, u32)],
) -> Result<(), Fault> {
    let Some(((head, written), others)) = chains.split_last() else { return Ok(()) };
    for (head, written) in others {
        // The ring's flags and index come first. All of it is memory, which was checked when the queue was set up.
        let place = 4 + 8 * u64::from(queue.next_used() % queue.size());
        let entry = [u32::from(*head).to_le(), written.to_le()];
        let address = GuestAddress(queue.used_ring().saturating_add(place));
        memory.write_obj(entry, address).map_err(virtio_queue::Error::GuestMemory)?;
        queue.set_next_used(queue.next_used().wrapping_add(1));
    }
    // Shows the index, and with it what is before.
    Ok(queue.add_used(memory, *head, *written)?)
}

/// Whether the driver wants to be told of the chains given back since the used index was `since` (virtio 1.2, section
/// 2.7.7).
///
/// # Errors
/// When the rings are broken.
pub fn driver_waits(queue: &Queue, memory: &GuestMemoryMmap, since: u16) -> Result<bool, Fault> {
    let added = queue.next_used().wrapping_sub(since);
    if added == 0 || !queue.event_idx_enabled() {
        return Ok(added != 0);
    }
    // What was given back has to be there before the driver's wish is read.
    fence(Ordering::SeqCst);
    let place = GuestAddress(queue.avail_ring().saturating_add(4 + 2 * u64::from(queue.size())));
    let event: u16 = memory.load(place, Ordering::Relaxed).map_err(virtio_queue::Error::GuestMemory)?;
    Ok(queue.next_used().wrapping_sub(u16::from_le(event)).wrapping_sub(1) < added)
}

/// Reads a chain's descriptors, each once and at most `limit` of them.
///
/// # Errors
/// What is wrong with the chain, in words; also what `each` says.
pub fn descriptors(
    chain: Chain<'_>,
    limit: usize,
    mut each: impl FnMut(Descriptor) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let mut complete = false;
    for (count, descriptor) in chain.enumerate() {
        if count == limit {
            return Err("a chain of too many descriptors");
        }
        complete = !descriptor.has_next();
        each(descriptor)?;
    }
    // The iterator ends early at what it cannot follow.
    if complete { Ok(()) } else { Err("a broken chain") }
}

/// The guest memory behind a chain, checked: readable and writable parts, each in order.
pub struct Buffers<'a> {
    /// What the device reads.
    pub readable: Span<'a>,
    /// What the device writes.
    pub writable: Span<'a>,
}

impl<'a> Buffers<'a> {
    /// Reads the chain's descriptors, each once. At most `limit` of them, which bounds the memory this takes.
    ///
    /// # Errors
    /// What is wrong with the chain, in words.
    pub fn new(memory: &'a GuestMemoryMmap, chain: Chain<'a>, limit: usize) -> Result<Self, &'static str> {
        let mut buffers = Self { readable: Span::default(), writable: Span::default() };
        descriptors(chain, limit, |descriptor| buffers.push(memory, descriptor))?;
        Ok(buffers)
    }

    fn push(&mut self, memory: &'a GuestMemoryMmap, descriptor: Descriptor) -> Result<(), &'static str> {
        let span = if descriptor.is_write_only() {
            &mut self.writable
        } else if self.writable.is_empty() {
            &mut self.readable
        } else {
            return Err("a readable buffer behind a writable one");
        };
        for slice in memory.get_slices(descriptor.addr(), descriptor.len() as usize) {
            span.push(slice.map_err(|_| "a buffer outside memory")?);
        }
        Ok(())
    }
}

/// A run of bytes in pieces of guest memory, consumed from the front.
#[derive(Default)]
pub struct Span<'a> {
    slices: Vec<VolatileSlice<'a>>,
    /// The first slice that is not consumed; what was consumed of it is cut off.
    first: usize,
    length: u64,
}

impl<'a> Span<'a> {
    /// Adds a piece at the end.
    pub fn push(&mut self, slice: VolatileSlice<'a>) {
        if !slice.is_empty() {
            self.length += slice.len() as u64;
            self.slices.push(slice);
        }
    }

    /// Bytes that are left.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The pieces that are left.
    pub fn slices(&self) -> &[VolatileSlice<'a>] {
        &self.slices[self.first..]
    }

    /// Takes the next `count` bytes off, or all if there are fewer.
    pub fn take(&mut self, count: u64) -> Self {
        let mut taken = Self::default();
        while taken.length < count {
            let Some(slice) = self.slices.get(self.first).copied() else { break };
            let wanted = usize::try_from(count - taken.length).unwrap_or(usize::MAX);
            self.length -= slice.len().min(wanted) as u64;
            match slice.split_at(wanted) {
                Ok((front, rest)) if !rest.is_empty() => {
                    self.slices[self.first] = rest;
                    taken.push(front);
                }
                _ => {
                    self.first += 1;
                    taken.push(slice);
                }
            }
        }
        taken
    }

    /// Takes all but the last byte off and leaves that one.
    pub fn take_all_but_last(&mut self) -> Self {
        self.take(self.length.saturating_sub(1))
    }

    /// Copies the front into `bytes` and consumes it; as much as there is.
    pub fn read(&mut self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.take(bytes.len() as u64).slices() {
            done += slice.copy_to(&mut bytes[done..]);
        }
        done
    }

    /// Copies `bytes` over the front and consumes it; as much as fits.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for slice in self.take(bytes.len() as u64).slices() {
            let part = &bytes[done..done + slice.len()];
            slice.copy_from(part);
            done += part.len();
        }
        done
    }

    /// Fills the front with zeros and consumes it.
    pub fn zero(&mut self, count: u64) {
        const ZEROS: [u8; 512] = [0; 512];
        for slice in self.take(count).slices() {
            for offset in (0..slice.len()).step_by(ZEROS.len()) {
                let part = ZEROS.len().min(slice.len() - offset);
                // In bounds by the two lines before.
                let _ = slice.write_slice(&ZEROS[..part], offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vm_memory::GuestAddress;

    use super::*;

    proptest! {
        /// Whatever the cuts: what is read is what was written, in order.
        #[test]
        fn pieces_make_a_whole(lengths in prop::collection::vec(1usize..40, 1..12), cuts in prop::collection::vec(0u64..60, 0..20)) {
            let memory = crate::memory::map(1 << 20).unwrap();
            let span = || {
                let mut span = Span::default();
                for (index, length) in lengths.iter().enumerate() {
                    for slice in memory.get_slices(GuestAddress(index as u64 * 64), *length) {
                        span.push(slice.unwrap());
                    }
                }
                span
            };
            let total: usize = lengths.iter().sum();
            let bytes: Vec<u8> = (0..total).map(|byte| (byte % 255) as u8 + 1).collect();
            prop_assert_eq!(span().write(&bytes), total);
            let mut reader = span();
            let mut seen = Vec::new();
            for cut in cuts.into_iter().chain([u64::MAX]) {
                let left = reader.len();
                let mut part = reader.take(cut);
                prop_assert_eq!(part.len() + reader.len(), left);
                let mut buffer = vec![0; part.len() as usize];
                prop_assert_eq!(part.read(&mut buffer) as u64, left.min(cut));
                seen.extend(buffer);
            }
            prop_assert_eq!(seen, bytes);
            let mut zeroed = span();
            zeroed.zero(total as u64 - 1);
            prop_assert_eq!(zeroed.len(), 1);
        }
    }
}
