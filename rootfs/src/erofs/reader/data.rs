//! Where an inode's data is.

use super::{BLOCK, Flaw, IndexError, Node};
use crate::disk::BLOCK_SIZE;
use crate::erofs::format::{self, DataLayout, FileType};
use crate::limits;

/// The highest chunk size that the format can say, as a shift of the block size.
const MAX_CHUNK_BITS: u32 = 31;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Where on the disk, in bytes; nothing for a hole.
    pub place: Option<u64>,
}

impl<'a> Node<'a> {
    /// The target of a symbolic link.
    ///
    /// # Errors
    /// If it is not in the index, or not one that Linux follows.
    pub fn target(&self) -> Result<&'a [u8], IndexError> {
        let (target, _) = self.content()?;
        let is_one = self.file_type == FileType::Symlink && !target.is_empty() && !target.contains(&0);
        if is_one && target.len() <= limits::MAX_TARGET_LEN {
            Ok(target)
        } else {
            Err(self.flaw(Flaw::Target))
        }
    }

    /// The parts of a file, in order. A file of no bytes, a device and a pipe have none.
    ///
    /// # Errors
    /// In place of the first part that is outside the disk.
    pub fn extents(&self) -> impl Iterator<Item = Result<Extent, IndexError>> {
        let size = match self.file_type {
            FileType::Regular | FileType::Directory | FileType::Symlink => self.inode.size,
            _ => 0,
        };
        // Only a chunk-based file has more than one part.
        let length = if self.inode.layout == DataLayout::Chunked { self.chunk_len() } else { size };
        let mut offset = 0;
        std::iter::from_fn(move || {
            if offset >= size {
                return None;
            }
            let part = Extent { offset, length: length.min(size - offset), place: None };
            let found = self.place(part).ok_or(self.flaw(Flaw::Data));
            offset = if found.is_ok() { offset + part.length } else { size };
            Some(found)
        })
    }

    /// Content that is in the index in one piece, a directory's or a link's; and the same as a lookup in Linux sees it,
    /// which does not end with the size.
    pub(super) fn content(&self) -> Result<(&'a [u8], &'a [u8]), IndexError> {
        let size = usize::try_from(self.inode.size).map_err(|_| self.flaw(Flaw::Content))?;
        let find = || {
            let (start, seen) = match self.inode.layout {
                // Whole blocks.
                DataLayout::Plain => (block_start(self.inode.union)?, size.checked_next_multiple_of(BLOCK)?),
                // Copied to a page of its own, filled with zeros.
                DataLayout::Inline if (self.tail % BLOCK).checked_add(size)? <= BLOCK => (self.tail, size),
                _ => return None,
            };
            let seen = self.index.bytes.get(start..start.checked_add(seen)?)?;
            Some((seen.get(..size)?, seen))
        };
        find().ok_or(self.flaw(Flaw::Content))
    }

    /// The part with its place; nothing if that is outside.
    fn place(&self, part: Extent) -> Option<Extent> {
        let (place, end) = match self.inode.layout {
            DataLayout::Plain => (Some(u64::from(self.inode.union) * BLOCK_SIZE), self.index.disk_len()),
            DataLayout::Inline => {
                let end = (self.tail / BLOCK + 1).checked_mul(BLOCK)?.min(self.index.bytes.len());
                (Some(self.tail as u64), end as u64)
            }
            DataLayout::Chunked => {
                let number = usize::try_from(part.offset / self.chunk_len()).ok()?;
                let entry = self.tail.checked_add(number.checked_mul(format::CHUNK_ENTRY_LEN)?)?;
                let block = u32::from_le_bytes(*self.index.bytes.get(entry..)?.first_chunk()?);
                let place = (block != format::NULL_BLOCK).then(|| u64::from(block) * BLOCK_SIZE);
                (place, self.index.disk_len())
            }
        };
        let inside = place.is_none_or(|place| place.checked_add(part.length).is_some_and(|past| past <= end));
        inside.then_some(Extent { place, ..part })
    }

    /// The chunk size in bytes. More than the format can say counts as the most.
    fn chunk_len(&self) -> u64 {
        BLOCK_SIZE << self.inode.union.min(MAX_CHUNK_BITS)
    }

    /// The length of a chunk-based file's table, in bytes.
    pub(super) fn table_len(&self) -> u64 {
        self.inode.size.div_ceil(self.chunk_len()).saturating_mul(format::CHUNK_ENTRY_LEN as u64)
    }
}

fn block_start(block: u32) -> Option<usize> {
    usize::try_from(u64::from(block) * BLOCK_SIZE).ok()
}
