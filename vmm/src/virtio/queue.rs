//! What devices do with a queue: take its chains, check each descriptor once, give the chains back.

use std::ops::Deref;
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
    /// the chains to the driver. For a chain that `each` keeps it returns `None`.
    ///
    /// At most one ring's worth of chains is taken at a time, so that a driver that never stops adding cannot keep
    /// the worker from its stop event; the queue kicks itself for the rest.
    ///
    /// # Errors
    /// When the rings are broken, or what `each` cannot go on from.
    pub fn serve<M: Deref<Target = GuestMemoryMmap> + Clone>(
        &mut self,
        memory: M,
        interrupt: &Interrupt,
        mut each: impl FnMut(DescriptorChain<M>) -> Result<Option<u32>, Fault>,
    ) -> Result<(), Fault> {
        // Already read when the queue kicked itself and the driver did too.
        let _ = self.kick.read();
        let mut budget = self.queue.size();
        let mut used = false;
        self.queue.disable_notification(&*memory)?;
        loop {
            while let Some(chain) = next(&mut self.queue, memory.clone(), budget)? {
                budget -= 1;
                let head = chain.head_index();
                if let Some(written) = each(chain)? {
                    self.queue.add_used(&*memory, head, written)?;
                    used = true;
                }
            }
            if budget == 0 {
                self.kick.write(1)?;
                break;
            }
            if !self.queue.enable_notification(&*memory)? {
                break;
            }
            self.queue.disable_notification(&*memory)?;
        }
        if used && self.queue.needs_notification(&*memory)? {
            interrupt.signal_used();
        }
        Ok(())
    }
}

fn next<M: Deref<Target = GuestMemoryMmap> + Clone>(
    queue: &mut Queue,
    memory: M,
    budget: u16,
) -> Result<Option<DescriptorChain<M>>, Fault> {
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
pub fn descriptors<M: Deref<Target = GuestMemoryMmap>>(
    chain: DescriptorChain<M>,
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
    pub fn new<M: Deref<Target = GuestMemoryMmap>>(
        memory: &'a GuestMemoryMmap,
        chain: DescriptorChain<M>,
        limit: usize,
    ) -> Result<Self, &'static str> {
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

    /// A queue of 8 with its rings in memory.
    fn queue(event_idx: bool) -> (Queue, GuestMemoryMmap) {
        let memory = crate::memory::map(1 << 20).unwrap();
        let mut queue = Queue::new(8).unwrap();
        queue.try_set_desc_table_address(GuestAddress(0x1000)).unwrap();
        queue.try_set_avail_ring_address(GuestAddress(0x2000)).unwrap();
        queue.try_set_used_ring_address(GuestAddress(0x3000)).unwrap();
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        assert!(queue.is_valid(&memory));
        (queue, memory)
    }

    #[test]
    fn chains_given_back_together_lie_in_order_around_the_end() {
        let (mut queue, memory) = queue(true);
        add_used_together(&mut queue, &memory, &[]).unwrap();
        let mut given = Vec::new();
        for count in [3, 1, 4, 2, 5] {
            let chains: Vec<_> = (0..count).map(|part| (part, u32::from(count * 10 + part))).collect();
            add_used_together(&mut queue, &memory, &chains).unwrap();
            given.extend(chains);
            assert_eq!(memory.read_obj::<u16>(GuestAddress(0x3002)).unwrap(), given.len() as u16);
            for (number, (head, written)) in given.iter().enumerate().rev().take(8) {
                let place = GuestAddress(0x3004 + 8 * (number as u64 % 8));
                assert_eq!(memory.read_obj::<[u32; 2]>(place).unwrap(), [u32::from(*head), *written]);
            }
        }
        assert!(add_used_together(&mut queue, &memory, &[(8, 0)]).is_err());
    }

    proptest! {
        /// The same answer as the crate has for chains given back one by one.
        #[test]
        fn the_driver_is_told_when_it_asked_to_be(start in any::<u16>(), added in 0u16..8, event in any::<u16>(), near in any::<bool>(), event_idx in any::<bool>()) {
            let event = if near { start.wrapping_add(event % 12).wrapping_sub(2) } else { event };
            let ((mut one, memory), (mut other, memory_too)) = (queue(event_idx), queue(event_idx));
            for (queue, memory) in [(&mut one, &memory), (&mut other, &memory_too)] {
                queue.set_next_used(start);
                memory.write_obj(event, GuestAddress(0x2004 + 16)).unwrap();
            }
            add_used_together(&mut one, &memory, &(0..added).map(|head| (head, 1)).collect::<Vec<_>>()).unwrap();
            (0..added).for_each(|head| other.add_used(&memory_too, head, 1).unwrap());
            let expected = added > 0 && other.needs_notification(&memory_too).unwrap();
            prop_assert_eq!(driver_waits(&one, &memory, start).unwrap(), expected);
        }

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
