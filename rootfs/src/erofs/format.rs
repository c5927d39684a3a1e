//! The structures of EROFS on disk, little-endian, as `fs/erofs/erofs_fs.h` of Linux defines them.

/// Where the superblock is; what stands before is not ours to use.
pub const SUPERBLOCK_OFFSET: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// Blocks are `1 << 9` bytes.
pub const BLOCK_BITS: u8 = 9;

/// The superblock has a checksum.
const COMPAT_CHECKSUM: u32 = 1;
/// The time of extended inodes is their mtime.
const COMPAT_MTIME: u32 = 2;
/// There are chunk-based inodes.
pub const INCOMPAT_CHUNKED: u32 = 4;

/// Inode numbers count slots of this size from the start of the disk.
pub const SLOT_LEN: u64 = 32;

/// `struct erofs_super_block`.
pub struct Superblock {
    pub checksum: u32,
    pub root: u16,
    pub inodes: u64,
    /// The time of all compact inodes.
    pub seconds: i64,
    pub nanoseconds: u32,
    pub blocks: u32,
    pub uuid: [u8; 16],
    pub incompat: u32,
}

impl Superblock {
    pub const LEN: usize = 128;
    /// The checksum covers this much from the superblock's start on: the rest of its block.
    pub const CHECKED_LEN: usize = 512;

    pub fn bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC.to_le_bytes());
        put(4, &self.checksum.to_le_bytes());
        put(8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.seconds.to_le_bytes());
        put(32, &self.nanoseconds.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        // 40: start of the metadata, 0 so that no inode has the number 0; 44: shared attributes, none.
        put(48, &self.uuid);
        put(80, &self.incompat.to_le_bytes());
        bytes
    }
}

/// How an inode's data is found: `enum` of data layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataLayout {
    /// Consecutive blocks.
    Plain = 0,
    /// Behind the inode and its attributes.
    Inline = 2,
    /// A table of chunks behind the inode and its attributes.
    Chunked = 4,
}

/// `struct erofs_inode_compact` or `struct erofs_inode_extended`.
pub struct Inode {
    pub layout: DataLayout,
    pub xattr_count: u16,
    /// With the type bits.
    pub mode: u16,
    pub links: u32,
    pub size: u64,
    /// Block, device number or chunk format, by layout and type.
    pub union: u32,
    /// A number for 32-bit `stat`.
    pub number: u32,
    pub uid: u32,
    pub gid: u32,
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl Inode {
    pub const COMPACT_LEN: u64 = 32;
    pub const EXTENDED_LEN: u64 = 64;

    /// Only for inodes that lose nothing: the time is the superblock's, ids and links have 16 bits, the size 32.
    pub fn compact(&self) -> [u8; Self::COMPACT_LEN as usize] {
        let low = |value: u32| value.to_le_bytes()[..2].to_vec();
        let mut bytes = [0; Self::COMPACT_LEN as usize];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &((self.layout as u16) << 1).to_le_bytes());
        put(2, &self.xattr_count.to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(6, &low(self.links));
        put(8, &self.size.to_le_bytes()[..4]);
        put(16, &self.union.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        put(24, &low(self.uid));
        put(26, &low(self.gid));
        bytes
    }

    pub fn extended(&self) -> [u8; Self::EXTENDED_LEN as usize] {
        let mut bytes = [0; Self::EXTENDED_LEN as usize];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &((self.layout as u16) << 1 | 1).to_le_bytes());
        put(2, &self.xattr_count.to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(8, &self.size.to_le_bytes());
        put(16, &self.union.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        put(24, &self.uid.to_le_bytes());
        put(28, &self.gid.to_le_bytes());
        put(32, &self.seconds.to_le_bytes());
        put(40, &self.nanoseconds.to_le_bytes());
        put(44, &self.links.to_le_bytes());
        bytes
    }
}

/// A hole in a chunk table.
pub const NULL_BLOCK: u32 = u32::MAX;

/// `struct erofs_dirent`.
pub struct Dirent {
    pub inode: u64,
    pub name_offset: u16,
    pub file_type: u8,
}

impl Dirent {
    pub const LEN: usize = 12;

    pub fn bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.inode.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.name_offset.to_le_bytes());
        bytes[10] = self.file_type;
        bytes
    }
}

/// `FT_*` of Linux.
pub mod file_type {
    pub const REGULAR: u8 = 1;
    pub const DIRECTORY: u8 = 2;
    pub const CHAR_DEVICE: u8 = 3;
    pub const BLOCK_DEVICE: u8 = 4;
    pub const FIFO: u8 = 5;
    pub const SYMLINK: u8 = 7;
}

/// Length of `struct erofs_xattr_ibody_header`, all zeros as long as no attribute is shared.
pub const XATTR_HEADER_LEN: usize = 12;
/// Length of `struct erofs_xattr_entry`; entries are filled up to a multiple of it.
pub const XATTR_ENTRY_LEN: usize = 4;

/// The number that stands for the prefix of an attribute's name, and the rest of the name.
pub fn xattr_prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => Some((2, b"")),
        b"system.posix_acl_default" => Some((3, b"")),
        _ => [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")]
            .iter()
            .find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?))),
    }
}

/// CRC-32C as the kernel's `crc32c(~0, ...)` computes it, that is without the final inversion.
pub fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// A device number as Linux' `new_encode_dev` packs it.
pub fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_usual_string() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn device_numbers() {
        assert_eq!(device_number(8, 1), 0x801);
        assert_eq!(device_number(4095, 256), 0x10_0000 | 4095 << 8);
    }
}
