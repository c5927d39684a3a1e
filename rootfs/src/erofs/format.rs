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

/// What a reader of these structures knows; other incompatible features change what the bytes mean.
const INCOMPAT_KNOWN: u32 = INCOMPAT_CHUNKED;

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

    /// Reads it from its own part of a block. The checksum counts if the superblock says that it has one, as in Linux.
    pub fn parse(area: &[u8; Self::CHECKED_LEN]) -> Result<Self, &'static str> {
        let checks = [
            (u32::from_le_bytes(field(area, 0)) == MAGIC, "has not the magic number of EROFS"),
            (field(area, 12) == [BLOCK_BITS], "has another block size than 512"),
            (field(area, 13) == [0], "has extension slots"),
            (u32::from_le_bytes(field(area, 40)) == 0, "does not start its metadata at block 0"),
            (u32::from_le_bytes(field(area, 80)) & !INCOMPAT_KNOWN == 0, "has features that are not known"),
        ];
        if let Some((_, problem)) = checks.iter().find(|(holds, _)| !holds) {
            return Err(problem);
        }
        let checksum = u32::from_le_bytes(field(area, 4));
        let mut unsealed = *area;
        unsealed[4..8].fill(0);
        let has_checksum = u32::from_le_bytes(field(area, 8)) & COMPAT_CHECKSUM != 0;
        if has_checksum && crc32c(&unsealed) != checksum {
            return Err("has a wrong checksum");
        }
        Ok(Self {
            checksum,
            root: u16::from_le_bytes(field(area, 14)),
            inodes: u64::from_le_bytes(field(area, 16)),
            seconds: i64::from_le_bytes(field(area, 24)),
            nanoseconds: u32::from_le_bytes(field(area, 32)),
            blocks: u32::from_le_bytes(field(area, 36)),
            uuid: field(area, 48),
            incompat: u32::from_le_bytes(field(area, 80)),
        })
    }
}

/// The little-endian bytes of a field; `at` is a constant of the structure that `bytes` has the length of.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
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
#[derive(Debug, Clone)]
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

    /// Reads an inode from its start on. Returns it with its own length, or nothing if the bytes end before it does or it
    /// has a layout or a feature that is not known. `epoch` is the time of compact inodes.
    pub fn parse(bytes: &[u8], epoch: (i64, u32)) -> Option<(Self, u64)> {
        let format = u16::from_le_bytes(*bytes.first_chunk()?);
        let layout = match format >> 1 {
            0 => DataLayout::Plain,
            2 => DataLayout::Inline,
            4 => DataLayout::Chunked,
            _ => return None,
        };
        if format & 1 == 1 {
            let bytes: &[u8; Self::EXTENDED_LEN as usize] = bytes.first_chunk()?;
            return Some((Self::parse_extended(bytes, layout), Self::EXTENDED_LEN));
        }
        let bytes: &[u8; Self::COMPACT_LEN as usize] = bytes.first_chunk()?;
        let inode = Self {
            layout,
            xattr_count: u16::from_le_bytes(field(bytes, 2)),
            mode: u16::from_le_bytes(field(bytes, 4)),
            links: u16::from_le_bytes(field(bytes, 6)).into(),
            size: u32::from_le_bytes(field(bytes, 8)).into(),
            union: u32::from_le_bytes(field(bytes, 16)),
            number: u32::from_le_bytes(field(bytes, 20)),
            uid: u16::from_le_bytes(field(bytes, 24)).into(),
            gid: u16::from_le_bytes(field(bytes, 26)).into(),
            seconds: epoch.0,
            nanoseconds: epoch.1,
        };
        Some((inode, Self::COMPACT_LEN))
    }

    fn parse_extended(bytes: &[u8; Self::EXTENDED_LEN as usize], layout: DataLayout) -> Self {
        Self {
            layout,
            xattr_count: u16::from_le_bytes(field(bytes, 2)),
            mode: u16::from_le_bytes(field(bytes, 4)),
            links: u32::from_le_bytes(field(bytes, 44)),
            size: u64::from_le_bytes(field(bytes, 8)),
            union: u32::from_le_bytes(field(bytes, 16)),
            number: u32::from_le_bytes(field(bytes, 20)),
            uid: u32::from_le_bytes(field(bytes, 24)),
            gid: u32::from_le_bytes(field(bytes, 28)),
            seconds: i64::from_le_bytes(field(bytes, 32)),
            nanoseconds: u32::from_le_bytes(field(bytes, 40)),
        }
    }
}

/// Bytes of one entry of a chunk table.
pub const CHUNK_ENTRY_LEN: usize = 4;
/// A hole in a chunk table.
pub const NULL_BLOCK: u32 = u32::MAX;

/// `struct erofs_dirent`.
#[derive(Debug, Clone, Copy)]
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

    pub fn parse(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            inode: u64::from_le_bytes(field(bytes, 0)),
            name_offset: u16::from_le_bytes(field(bytes, 8)),
            file_type: bytes[10],
        }
    }
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// An ordinary file.
    Regular,
    /// A directory.
    Directory,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A symbolic link.
    Symlink,
}

impl FileType {
    /// Each type with its number in directories (`FT_*` of Linux) and its bits in `st_mode`.
    const NUMBERS: [(Self, u8, u16); 6] = [
        (Self::Regular, 1, 0o10_0000),
        (Self::Directory, 2, 0o04_0000),
        (Self::CharDevice, 3, 0o02_0000),
        (Self::BlockDevice, 4, 0o06_0000),
        (Self::Fifo, 5, 0o01_0000),
        (Self::Symlink, 7, 0o12_0000),
    ];
    const MODE_BITS: u16 = 0o17_0000;

    /// The number in directories.
    pub(super) fn in_directory(self) -> u8 {
        Self::NUMBERS.iter().find(|(own, ..)| *own == self).map_or(0, |(_, number, _)| *number)
    }

    /// The bits of `st_mode`.
    pub(super) fn in_mode(self) -> u16 {
        Self::NUMBERS.iter().find(|(own, ..)| *own == self).map_or(0, |(.., bits)| *bits)
    }

    pub(super) fn from_directory(number: u8) -> Option<Self> {
        Self::NUMBERS.iter().find(|(_, own, _)| *own == number).map(|(own, ..)| *own)
    }

    pub(super) fn from_mode(mode: u16) -> Option<Self> {
        Self::NUMBERS.iter().find(|(.., bits)| *bits == mode & Self::MODE_BITS).map(|(own, ..)| *own)
    }
}

/// Length of `struct erofs_xattr_ibody_header`, all zeros as long as no attribute is shared.
pub const XATTR_HEADER_LEN: usize = 12;

/// `struct erofs_xattr_entry`; the rest of the name and the value follow.
pub struct XattrEntry {
    pub name_len: u8,
    /// Stands for the prefix of the name.
    pub prefix: u8,
    pub value_len: u16,
}

impl XattrEntry {
    /// Entries are filled up to a multiple of it.
    pub const LEN: usize = 4;

    pub fn bytes(&self) -> [u8; Self::LEN] {
        let [low, high] = self.value_len.to_le_bytes();
        [self.name_len, self.prefix, low, high]
    }

    pub fn parse([name_len, prefix, low, high]: [u8; Self::LEN]) -> Self {
        Self { name_len, prefix, value_len: u16::from_le_bytes([low, high]) }
    }
}

/// How many bytes of attributes `i_xattr_icount` stands for: the header counts as one, and each four bytes behind it.
pub fn xattrs_len(count: u16) -> usize {
    match usize::from(count) {
        0 => 0,
        count => XATTR_HEADER_LEN + (count - 1) * XattrEntry::LEN,
    }
}

/// The numbers that stand for prefixes of attributes' names. What does not end with a dot is a whole name.
const XATTR_PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// The number that stands for the prefix of an attribute's name, and the rest of the name.
pub fn xattr_prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    XATTR_PREFIXES.iter().find_map(|(number, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        (prefix.ends_with(b".") || rest.is_empty()).then_some((*number, rest))
    })
}

/// The name of an attribute from the number of its prefix and its rest.
pub fn xattr_name(number: u8, rest: &[u8]) -> Option<Vec<u8>> {
    let (_, prefix) = XATTR_PREFIXES.iter().find(|(known, _)| *known == number)?;
    (prefix.ends_with(b".") != rest.is_empty()).then(|| [*prefix, rest].concat())
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

/// Major and minor of such a number.
pub fn device_parts(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, (number & 0xff) | (number >> 12 & 0xf_ff00))
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
        for parts in [(8, 1), (4095, 256), (4095, (1 << 20) - 1), (0, 0)] {
            assert_eq!(device_parts(device_number(parts.0, parts.1)), parts);
        }
    }
}
