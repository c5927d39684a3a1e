//! Directories, read in two ways as in Linux: listed (`fs/erofs/dir.c`), and looked up (`fs/erofs/namei.c`). They differ in
//! where the last name of a block ends: listing knows the directory's size, a lookup goes on to the block's end.

use std::cmp::Ordering;

use super::{BLOCK, Flaw, IndexError, Node};
use crate::erofs::format::{Dirent, FileType};
use crate::limits::MAX_NAME_LEN;

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The number of the inode that it leads to.
    pub inode: u64,
    /// The type of that.
    pub file_type: FileType,
}

/// One block of a directory: entries, then their names.
struct Block<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Node<'a> {
    /// What the directory lists, in its order, with `.` and `..`.
    ///
    /// # Errors
    /// In place of the first block that makes no sense.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, IndexError>> {
        let (content, error) = match self.directory() {
            Ok((listed, _)) => (listed, None),
            Err(error) => (&[][..], Some(error)),
        };
        let entries = content.chunks(BLOCK).flat_map(|bytes| {
            let block = Block::parse(bytes);
            let count = block.as_ref().map_or(1, |block| block.count);
            (0..count).map(move |number| block.as_ref()?.entry(number))
        });
        let entries = entries.map(|entry| entry.ok_or(self.flaw(Flaw::Entries)));
        error.map(Err).into_iter().chain(entries)
    }

    /// What a name leads to, by the rule of Linux' lookup.
    ///
    /// # Errors
    /// If the node is no directory, or a block on the way makes no sense.
    pub fn lookup(&self, name: &[u8]) -> Result<Option<Entry<'a>>, IndexError> {
        let (_, seen) = self.directory()?;
        let malformed = || self.flaw(Flaw::Entries);
        let blocks: usize = seen.len().div_ceil(BLOCK);
        let block = |number: usize| seen.chunks(BLOCK).nth(number).and_then(Block::parse);
        // The last block whose first name is not behind the one that is looked for.
        let found = search(0, blocks, |number| Some(block(number)?.name(0)?.cmp(name)));
        let found = match found.ok_or_else(malformed)? {
            Ok(number) => (number, 0),
            Err(0) => return Ok(None),
            Err(after) => {
                let block = block(after - 1).ok_or_else(malformed)?;
                let found = search(1, block.count, |entry| Some(block.name(entry)?.cmp(name)));
                match found.ok_or_else(malformed)? {
                    Ok(entry) => (after - 1, entry),
                    Err(_) => return Ok(None),
                }
            }
        };
        block(found.0).and_then(|block| block.entry(found.1)).ok_or_else(malformed).map(Some)
    }

    fn directory(&self) -> Result<(&'a [u8], &'a [u8]), IndexError> {
        if self.file_type == FileType::Directory { self.content() } else { Err(self.flaw(Flaw::Entries)) }
    }
}

impl<'a> Block<'a> {
    /// The first entry's name follows the last entry, so it tells how many there are.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let first = Dirent::parse(bytes.first_chunk()?);
        let start = usize::from(first.name_offset);
        let is_behind_entries = start > 0 && start.is_multiple_of(Dirent::LEN) && start < bytes.len();
        is_behind_entries.then_some(Self { bytes, count: start / Dirent::LEN })
    }

    fn dirent(&self, number: usize) -> Option<Dirent> {
        self.bytes.get(number * Dirent::LEN..)?.first_chunk().map(Dirent::parse)
    }

    /// A name ends where the next one starts; the last one at a zero byte or at the end of what is seen of the block.
    fn name(&self, number: usize) -> Option<&'a [u8]> {
        let start = usize::from(self.dirent(number)?.name_offset);
        if number + 1 < self.count {
            let end = usize::from(self.dirent(number + 1)?.name_offset);
            return self.bytes.get(start..end).filter(|name| !name.contains(&0));
        }
        self.bytes.get(start..)?.split(|byte| *byte == 0).next()
    }

    fn entry(&self, number: usize) -> Option<Entry<'a>> {
        let dirent = self.dirent(number)?;
        let (name, file_type) = (self.name(number)?, FileType::from_directory(dirent.file_type)?);
        let is_name = (1..=MAX_NAME_LEN).contains(&name.len()) && !name.contains(&b'/');
        is_name.then_some(Entry { name, inode: dirent.inode, file_type })
    }
}

/// A binary search that probes as Linux does. Gives the place of what compares as equal, or the place behind all that
/// compares as less; nothing as soon as a comparison fails.
fn search(
    mut low: usize,
    mut high: usize,
    compare: impl Fn(usize) -> Option<Ordering>,
) -> Option<Result<usize, usize>> {
    while low < high {
        let middle = low + (high - low - 1) / 2;
        match compare(middle)? {
            Ordering::Equal => return Some(Ok(middle)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Some(Err(low))
}
