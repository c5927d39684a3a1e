//! Tar, as POSIX.1-2001 has it (ustar headers, PAX records), with GNU's long names on the way in: what archives are made
//! of that pass between host and guest. Both ends read and write them with this.
//!
//! Written here rather than taken from a crate because of what comes in: names and attributes are bounded before they
//! are held in memory, and a size that is told twice is the same size for everyone.

mod header;
mod pax;
mod reader;
mod writer;

pub use reader::{Reader, TarError};
pub use writer::Writer;

/// The size of a block in bytes.
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// Another name of an entry that went before.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// An entry without its contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub path: Vec<u8>,
    /// What a link points to.
    pub link: Vec<u8>,
    /// Permissions, with the set-user-ID bit and its like.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The length of its contents; only files have any.
    pub size: u64,
    /// When it was changed last: seconds since 1970, and nanoseconds after those.
    pub mtime: (i64, u32),
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// How many bytes follow contents of `size` to the end of their last block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
