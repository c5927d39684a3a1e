//! Reads an index back: names by the rule of Linux' lookup, inodes, attributes, and where the data is.
//!
//! The bytes are not trusted. Each question ends in an answer or an error, also for broken ones, and takes no more
//! memory than the answer.

mod data;
mod directory;
mod error;

pub use data::Extent;
pub use directory::Entry;
pub use error::{Flaw, IndexError};

use crate::disk::BLOCK_SIZE;
use crate::erofs::format::{self, DataLayout, FileType, Inode, SLOT_LEN, SUPERBLOCK_OFFSET, Superblock};
use crate::erofs::xattrs;

/// An index that is read.
#[derive(Clone, Copy)]
pub struct IndexReader<'a> {
    bytes: &'a [u8],
    root: u64,
    inodes: u64,
    /// The time of compact inodes.
    epoch: (i64, u32),
    blocks: u32,
}

/// An inode of an index.
#[derive(Clone)]
pub struct Node<'a> {
    index: IndexReader<'a>,
    number: u64,
    inode: Inode,
    file_type: FileType,
    /// Where its attributes start in the index, and where what follows them does.
    xattrs: usize,
    tail: usize,
}

impl<'a> IndexReader<'a> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// [`IndexError::Superblock`] if these bytes are not an index, or have changed since it was made.
    pub fn open(bytes: &'a [u8]) -> Result<Self, IndexError> {
        let area = usize::try_from(SUPERBLOCK_OFFSET).ok().and_then(|start| bytes.get(start..));
        let area = area.and_then(<[u8]>::first_chunk).ok_or(IndexError::Superblock("is missing"))?;
        let superblock = Superblock::parse(area).map_err(IndexError::Superblock)?;
        Ok(Self {
            bytes,
            root: superblock.root.into(),
            inodes: superblock.inodes,
            epoch: (superblock.seconds, superblock.nanoseconds),
            blocks: superblock.blocks,
        })
    }

    /// How many inodes the superblock counts.
    pub fn inodes(&self) -> u64 {
        self.inodes
    }

    /// The length of the whole disk, index and layers.
    pub fn disk_len(&self) -> u64 {
        u64::from(self.blocks) * BLOCK_SIZE
    }

    /// The length of the index alone.
    pub(super) fn index_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The root directory.
    ///
    /// # Errors
    /// As [`Self::node`].
    pub fn root(&self) -> Result<Node<'a>, IndexError> {
        self.node(self.root)
    }

    /// The inode of a number.
    ///
    /// # Errors
    /// If there is none, or it makes no sense.
    pub fn node(&self, number: u64) -> Result<Node<'a>, IndexError> {
        let flaw = |flaw| IndexError::Inode { number, flaw };
        let start = number.checked_mul(SLOT_LEN).and_then(|start| usize::try_from(start).ok());
        let start = start.ok_or(flaw(Flaw::Outside))?;
        // An inode does not cross the end of a block.
        let end = start.checked_add(1).and_then(|next| next.checked_next_multiple_of(BLOCK));
        let bytes = end.and_then(|end| self.bytes.get(start..end)).ok_or(flaw(Flaw::Outside))?;
        let (inode, own) = Inode::parse(bytes, self.epoch).ok_or(flaw(Flaw::Layout))?;
        let file_type = FileType::from_mode(inode.mode).ok_or(flaw(Flaw::Mode))?;
        if inode.layout == DataLayout::Chunked && file_type != FileType::Regular {
            return Err(flaw(Flaw::Layout));
        }
        let xattrs = start + usize::try_from(own).unwrap_or_default();
        let tail = xattrs + format::xattrs_len(inode.xattr_count);
        if tail > self.bytes.len() {
            return Err(flaw(Flaw::Attributes));
        }
        Ok(Node { index: *self, number, inode, file_type, xattrs, tail })
    }
}

impl<'a> Node<'a> {
    /// What names in directories lead to it by.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its type.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// Its permissions, with the three special bits.
    pub fn permissions(&self) -> u16 {
        self.inode.mode & 0o7777
    }

    /// Its user and its group.
    pub fn owner(&self) -> (u32, u32) {
        (self.inode.uid, self.inode.gid)
    }

    /// When it was changed last: seconds since 1970, and nanoseconds after that.
    pub fn mtime(&self) -> (i64, u32) {
        (self.inode.seconds, self.inode.nanoseconds)
    }

    /// How many names it has; for a directory, how many entries lead to it.
    pub fn links(&self) -> u32 {
        self.inode.links
    }

    /// The length of its data in bytes.
    pub fn size(&self) -> u64 {
        self.inode.size
    }

    /// Major and minor number of a device.
    pub fn device(&self) -> Option<(u32, u32)> {
        let is_device = matches!(self.file_type, FileType::CharDevice | FileType::BlockDevice);
        is_device.then(|| format::device_parts(self.inode.union))
    }

    /// The names and values of its extended attributes.
    ///
    /// # Errors
    /// In place of the first one that makes no sense.
    pub fn xattrs(&self) -> impl Iterator<Item = Result<(Vec<u8>, &'a [u8]), IndexError>> {
        let set = self.index.bytes.get(self.xattrs..self.tail).unwrap_or_default();
        xattrs::parse(set).map(|xattr| xattr.ok_or(self.flaw(Flaw::Attributes)))
    }

    /// How many bytes of the index are this inode's alone, if the index makes sense.
    pub(super) fn footprint(&self) -> u64 {
        let inode = self.tail as u64 - self.number * SLOT_LEN;
        let content = match (self.inode.layout, self.file_type) {
            (DataLayout::Chunked, _) => self.table_len(),
            (DataLayout::Inline, _) | (_, FileType::Directory | FileType::Symlink) => self.inode.size,
            _ => 0,
        };
        inode.saturating_add(content)
    }

    fn flaw(&self, flaw: Flaw) -> IndexError {
        IndexError::Inode { number: self.number, flaw }
    }
}

const BLOCK: usize = BLOCK_SIZE as usize;
