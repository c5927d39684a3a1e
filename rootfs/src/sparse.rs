//! Places a sparse file on the disk.
//!
//! EROFS maps such a file in chunks of one size, a power of two blocks, each of which is a hole or stands at some block.
//! Chunks that lie in one run of data stay in the layer if that is aligned to blocks there; those where data and
//! hole meet are copied into the index. Large chunks make a short table and long copies, small ones the opposite:
//! the size with the smallest sum is taken.

use crate::disk::BLOCK_SIZE;
use crate::tar::sparse::Extent;

/// `i_u.c.format` has five bits for the chunk size.
const MAX_CHUNK_BITS: u8 = 31;

/// Bytes of one entry of the chunk table.
const ENTRY_LEN: u64 = 4;

/// What one chunk of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// Zeros.
    Hole,
    /// Data in place; the block number in the layer.
    Layer(u32),
    /// Copied data; the block number in [`Placed::copies`].
    Copy(u32),
}

/// A sparse file as it is on the disk.
#[derive(Debug)]
pub struct Placed {
    pub size: u64,
    /// The chunk size is the block size shifted by this.
    pub chunk_bits: u8,
    pub chunks: Vec<Chunk>,
    /// Data that is not in the layer in usable form, in whole blocks.
    pub copies: Vec<u8>,
}

/// A run with the place of its data in the layer.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
    stored: u64,
}

impl Run {
    /// Whether chunks of this run can be used in place: their size is a multiple of the block size, so it depends on the run
    /// alone.
    fn aligned(&self) -> bool {
        self.stored % BLOCK_SIZE == self.start % BLOCK_SIZE
    }

    /// The chunks that hold some of its data, as first and last.
    fn touched(&self, chunk: u64) -> (u64, u64) {
        (self.start / chunk, (self.end - 1) / chunk)
    }

    /// Whether chunk number `index` has nothing but data of this run.
    fn covers(&self, index: u64, chunk: u64, size: u64) -> bool {
        self.aligned() && index * chunk >= self.start && (index * chunk + chunk).min(size) <= self.end
    }
}

/// Plans are cheap, so the caller can check [`Plan::cost`] before any memory is taken.
pub struct Plan {
    runs: Vec<Run>,
    size: u64,
    bits: u8,
    cost: u64,
}

impl Plan {
    /// Finds the chunk size for a file of `size` bytes; `offset` is where in the layer its runs are stored, one after the
    /// other.
    pub fn new(extents: &[Extent], offset: u64, size: u64) -> Self {
        let mut stored = offset;
        let place = |extent: &Extent| {
            let run = Run { start: extent.offset, end: extent.offset + extent.length, stored };
            stored += extent.length;
            run
        };
        let runs: Vec<Run> = extents.iter().map(place).collect();
        let costs = (0..=MAX_CHUNK_BITS).map(|bits| (cost(&runs, size, BLOCK_SIZE << bits), bits));
        let (cost, bits) = costs.min_by_key(|(cost, bits)| (*cost, u8::MAX - bits)).unwrap_or_default();
        Self { runs, size, bits, cost }
    }

    /// Bytes that the file adds to the index.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Carries the plan out; `read` fills a buffer with the layer's bytes from an offset on.
    pub fn place<E>(&self, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Placed, E> {
        let chunk = BLOCK_SIZE << self.bits;
        let count = usize::try_from(self.size.div_ceil(chunk)).unwrap_or_default();
        let mut placed = Placed {
            size: self.size,
            chunk_bits: self.bits,
            chunks: vec![Chunk::Hole; count],
            copies: Vec::new(),
        };
        for run in &self.runs {
            let (first, last) = run.touched(chunk);
            for index in first..=last {
                let Some(slot) = usize::try_from(index).ok().and_then(|index| placed.chunks.get_mut(index))
                else {
                    continue;
                };
                let start = index * chunk;
                if run.covers(index, chunk, self.size) {
                    *slot = Chunk::Layer(block(run.stored + (start - run.start)));
                    continue;
                }
                let base = match *slot {
                    Chunk::Copy(base) => base as usize * BLOCK_SIZE as usize,
                    _ => {
                        let base = placed.copies.len();
                        *slot = Chunk::Copy(block(base as u64));
                        let length = chunk.min((self.size - start).next_multiple_of(BLOCK_SIZE));
                        placed.copies.resize(base + usize::try_from(length).unwrap_or_default(), 0);
                        base
                    }
                };
                let from = run.start.max(start);
                let to = run.end.min(start + chunk);
                let into = |position: u64| base + usize::try_from(position - start).unwrap_or_default();
                read(run.stored + (from - run.start), &mut placed.copies[into(from)..into(to)])?;
            }
        }
        Ok(placed)
    }
}

/// Table and copies for one chunk size.
fn cost(runs: &[Run], size: u64, chunk: u64) -> u64 {
    let mut copied = 0u64;
    // Where one run ends and the next begins in the same chunk, it is copied once.
    let mut counted = None;
    for run in runs {
        let (first, last) = run.touched(chunk);
        // All chunks between the ends are covered by the run, so they are copied only if it is not aligned.
        if !run.aligned() && last > first {
            copied = copied.saturating_add((last - first - 1).saturating_mul(chunk));
        }
        for index in [first, last] {
            if counted != Some(index) && !run.covers(index, chunk, size) {
                counted = Some(index);
                copied =
                    copied.saturating_add(chunk.min((size - index * chunk).next_multiple_of(BLOCK_SIZE)));
            }
        }
    }
    copied.saturating_add(size.div_ceil(chunk).saturating_mul(ENTRY_LEN))
}

/// Layers and copies are far below the 2 TiB that 32 bits of blocks stand for; the disk's size is checked as a whole.
fn block(offset: u64) -> u32 {
    u32::try_from(offset / BLOCK_SIZE).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a reader of the placed file sees.
    fn content(placed: &Placed, layer: &[u8]) -> Vec<u8> {
        let chunk = (BLOCK_SIZE as usize) << placed.chunk_bits;
        let mut out = vec![0; placed.size as usize];
        for (index, what) in placed.chunks.iter().enumerate() {
            let start = index * chunk;
            let end = (start + chunk).min(out.len());
            let (from, block) = match what {
                Chunk::Hole => continue,
                Chunk::Layer(block) => (layer, *block),
                Chunk::Copy(block) => (placed.copies.as_slice(), *block),
            };
            let at = block as usize * BLOCK_SIZE as usize;
            out[start..end].copy_from_slice(&from[at..at + end - start]);
        }
        out
    }

    fn read_from(layer: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), ()> {
        |offset, into: &mut [u8]| {
            into.copy_from_slice(&layer[offset as usize..][..into.len()]);
            Ok(())
        }
    }

    #[test]
    fn a_hole_costs_one_entry() {
        let plan = Plan::new(&[], 0, 16 << 40);
        assert_eq!(plan.cost(), 16 * ENTRY_LEN);
        assert_eq!(Plan::new(&[], 0, 300_000).cost(), ENTRY_LEN);
    }

    #[test]
    fn islands_in_gigabytes_cost_kilobytes() {
        let islands = [(0, 512), ((1 << 30) + 4096, 4096), (3 << 30, 4096), ((5 << 30) - 512, 512)];
        let extents = islands.map(|(offset, length)| Extent { offset, length });
        assert!(Plan::new(&extents, 512, 5 << 30).cost() < 800 << 10);
    }

    proptest! {
        #[test]
        fn content_is_the_same(pieces in proptest::collection::vec((0u64..3000, 1u64..3000), 0..12), tail in 0u64..2000,
            align in any::<bool>()) {
            let unit = if align { BLOCK_SIZE } else { 1 };
            let (mut position, mut extents, mut layer) = (0, Vec::new(), vec![0xee; 1024]);
            let mut expected = Vec::new();
            for (gap, length) in pieces {
                let (gap, length) = (gap * unit, length * unit);
                position += gap;
                expected.resize(position as usize, 0);
                let data: Vec<u8> = (0..length).map(|byte| (byte + position) as u8 | 1).collect();
                layer.extend_from_slice(&data);
                expected.extend_from_slice(&data);
                match extents.last_mut() {
                    Some(Extent { offset, length: before }) if *offset + *before == position => *before += length,
                    _ => extents.push(Extent { offset: position, length }),
                }
                position += length;
            }
            expected.resize(expected.len() + tail as usize, 0);
            layer.resize(layer.len().next_multiple_of(512), 0xee);
            let plan = Plan::new(&extents, 1024, expected.len() as u64);
            let placed = plan.place(read_from(&layer)).unwrap();
            prop_assert_eq!(plan.cost(), placed.chunks.len() as u64 * ENTRY_LEN + placed.copies.len() as u64);
            prop_assert!(content(&placed, &layer) == expected);
        }
    }
}
