//! A tree as an EROFS image that has no file data of its own: files point into the layers behind it. Written, read back
//! and verified.

mod directory;
mod format;
mod reader;
mod verify;
mod writer;
mod xattrs;

use std::io::{self, Write};

use crate::disk::{Segment, segments};
use crate::error::Error;
use crate::tree::Tree;

pub use format::FileType;
pub use reader::{Entry, Extent, Flaw, IndexError, IndexReader, Node};
pub use xattrs::len as xattrs_len;

/// The index of an image: the first part of its disk.
#[derive(Debug, Clone)]
pub struct Index {
    bytes: Vec<u8>,
    layers: Vec<u64>,
    inodes: u64,
}

impl Index {
    /// The index, a whole number of blocks.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many files of all types it has; a file with several names counts once.
    pub fn inodes(&self) -> u64 {
        self.inodes
    }

    /// How index and layers make up the disk.
    pub fn segments(&self) -> Vec<Segment> {
        segments(self.bytes.len() as u64, &self.layers)
    }

    /// Writes the index.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.bytes)
    }
}

impl Tree {
    /// Makes the index of this tree.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if index and layers are more than EROFS can address.
    pub fn index(&self) -> Result<Index, Error> {
        let (bytes, inodes) = writer::write(self)?;
        Ok(Index { bytes, layers: self.layer_lens().to_vec(), inodes })
    }
}
