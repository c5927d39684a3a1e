//! OCI layers in, block device image out: layers are indexed, never unpacked.
//!
//! The layers' entries are merged into a [`Tree`], and the tree becomes an [`Index`]: a small EROFS image with blocks of 512
//! bytes whose files point into the uncompressed layer tars behind it. Index and tars, each padded to 512 bytes,
//! make up one disk ([`segments`]). The writable disk beside it comes from [`writable`].
//!
//! Everything here is a function of the layers' bytes: no network, no path of an image on the host, the same bytes
//! out for the same layers in.
#![forbid(unsafe_code)]

mod disk;
mod erofs;
mod error;
pub mod limits;
mod sparse;
mod tar;
mod tree;
pub mod writable;

use std::io::{Read, Seek};

pub use disk::{BLOCK_SIZE, Segment, Source, segments};
pub use erofs::{Entry, Extent, FileType, Flaw, Index, IndexError, IndexReader, Node};
pub use error::{Error, Problem};
pub use tree::Tree;

/// Changes whenever the same layers would give other bytes: part of the key under which an index is cached.
pub const WRITER_VERSION: u32 = 2;

/// Makes the index of an image from its layers, lowest first; each is an uncompressed tar.
///
/// ```
/// # fn main() -> Result<(), moat_rootfs::Error> {
/// let mut layers = [std::io::Cursor::new(vec![0; 1024])]; // an empty archive
/// let index = moat_rootfs::build_index(&mut layers)?;
/// assert_eq!(index.segments().len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What is wrong with which entry of which layer, see [`Error`].
pub fn build_index<R: Read + Seek>(layers: &mut [R]) -> Result<Index, Error> {
    Tree::from_layers(layers)?.index()
}
