//! What devices do with a queue: take its chains, and give the chains back. [`super::buffers`] reads what is in one.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::error::Fault;
use super::interrupt::Interrupt;
use crate::virtio::worker::Events;

/// A descriptor chain whose descriptors are still to be read. It can be kept for later.
pub type Chain = DescriptorChain<Arc<GuestMemoryMmap>>;

/// A queue that the driver has set up.
pub struct ActiveQueue {
    /// The rings.
    pub queue: Queue,
    /// Signalled by KVM when the driver notifies the queue.
    pub kick: EventFd,
}

/// A device's queues, the memory in which they lie, and the way to tell the driver.
pub struct Queues {
    /// The guest's memory.
    pub memory: Arc<GuestMemoryMmap>,
    /// The queues, in order.
    pub queues: Vec<ActiveQueue>,
    /// How the device reaches the driver.
    pub interrupt: Arc<Interrupt>,
}

impl Queues {
    /// Waits for the kicks of all queues; the token of each is the queue's number.
    ///
    /// # Errors
    /// When a kick cannot be waited for.
    pub fn watch(&self, events: &Events) -> Result<(), Fault> {
        for (token, queue) in (0..).zip(&self.queues) {
            events.add_event(&queue.kick, token)?;
        }
        Ok(())
    }

    /// As [`ActiveQueue::serve`], for the queue `number`. There is nothing to do for a number that no queue has.
    ///
    /// # Errors
    /// As [`ActiveQueue::serve`].
    pub fn serve(
        &mut self,
        number: usize,
        each: impl FnMut(Chain) -> Result<Option<u32>, Fault>,
    ) -> Result<(), Fault> {
        let Some(queue) = self.queues.get_mut(number) else { return Ok(()) };
        queue.serve(Arc::clone(&self.memory), &self.interrupt, each)
    }

    /// Splits the queues from `number` on off.
    pub fn split_off(&mut self, number: usize) -> Self {
        let queues = self.queues.split_off(number.min(self.queues.len()));
        Self { memory: Arc::clone(&self.memory), queues, interrupt: Arc::clone(&self.interrupt) }
    }
}

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

/// Gives the buffers of one frame back, each a head and the bytes written into it, so that the driver sees all of them or
/// none. On a queue that uses this, [`driver_waits`] alone says whether the driver is to be told.
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
    // This makes the index visible, and with it the entries before.
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
    // The driver has to see the used index before the device reads the driver's wish.
    fence(Ordering::SeqCst);
    let place = GuestAddress(queue.avail_ring().saturating_add(4 + 2 * u64::from(queue.size())));
    let event: u16 = memory.load(place, Ordering::Relaxed).map_err(virtio_queue::Error::GuestMemory)?;
    Ok(queue.next_used().wrapping_sub(u16::from_le(event)).wrapping_sub(1) < added)
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
    }
}
