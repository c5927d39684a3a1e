//! What a descriptor chain holds: each descriptor is read and checked once.

use std::ops::Deref;

use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// It has more descriptors than the device takes.
    #[error("a chain of too many descriptors")]
    TooLong,
    /// It leads to a descriptor that does not exist, or in a circle.
    #[error("a broken chain")]
    Broken,
    /// The driver mixed what the device reads with what it writes (virtio 1.2, section 2.7.4.2).
    #[error("a readable buffer behind a writable one")]
    Order,
    /// A descriptor names what is not guest memory.
    #[error("a buffer outside memory")]
    Outside,
    /// The device wants to write into a buffer that it may only read.
    #[error("a receive buffer that cannot be written")]
    ReadOnly,
    /// The lengths of a chain add up to more than a length can say.
    #[error("a buffer of more than 4 GiB")]
    TooLarge,
}

/// Reads a chain's descriptors, each once and at most `limit` of them.
///
/// # Errors
/// What is wrong with the chain, and what `each` finds wrong.
pub fn descriptors<M: Deref<Target = GuestMemoryMmap>>(
    chain: DescriptorChain<M>,
    limit: usize,
    mut each: impl FnMut(Descriptor) -> Result<(), ChainError>,
) -> Result<(), ChainError> {
    let mut complete = false;
    for (count, descriptor) in chain.enumerate() {
        if count == limit {
            return Err(ChainError::TooLong);
        }
        complete = !descriptor.has_next();
        each(descriptor)?;
    }
    // The iterator ends early at what it cannot follow.
    if complete { Ok(()) } else { Err(ChainError::Broken) }
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
    /// What is wrong with the chain.
    pub fn new<M: Deref<Target = GuestMemoryMmap>>(
        memory: &'a GuestMemoryMmap,
        chain: DescriptorChain<M>,
        limit: usize,
    ) -> Result<Self, ChainError> {
        let mut buffers = Self { readable: Span::default(), writable: Span::default() };
        descriptors(chain, limit, |descriptor| buffers.push(memory, descriptor))?;
        Ok(buffers)
    }

    fn push(&mut self, memory: &'a GuestMemoryMmap, descriptor: Descriptor) -> Result<(), ChainError> {
        let span = if descriptor.is_write_only() {
            &mut self.writable
        } else if self.writable.is_empty() {
            &mut self.readable
        } else {
            return Err(ChainError::Order);
        };
        for slice in memory.get_slices(descriptor.addr(), descriptor.len() as usize) {
            span.push(slice.map_err(|_| ChainError::Outside)?);
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
        /// However a span is cut, what is read is what was written, in order.
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
