//! Every bound on what an image may ask for, with its reason. An image that exceeds one is refused with an error
//! that names the layer, the entry and the bound.

/// Layers of one image. Docker stops at 127; each layer is one segment of the disk and one open file of the VMM.
pub const MAX_LAYERS: usize = 512;

/// Entries of all layers together. The largest images in use have about a million; at some 200 bytes each in
/// memory this keeps a hostile image below 1 GiB.
pub const MAX_ENTRIES: u64 = 4_000_000;

/// Bytes of names, link targets and extended attributes that one image may make us hold in memory: as they are read, and
/// as the index has them, which has a file's attributes with each file.
pub const MAX_TEXT_LEN: u64 = 1 << 30;

/// Length of an entry's path or hard link target. Linux takes no longer path in a system call (`PATH_MAX` with its NUL).
pub const MAX_PATH_LEN: usize = 4095;

/// Directories between the root and an entry, also after symbolic links were followed. A path of `MAX_PATH_LEN`
/// could have 2048; nothing real comes near.
pub const MAX_DEPTH: u32 = 1024;

/// Length of one component of a path: `NAME_MAX` of Linux and of EROFS.
pub const MAX_NAME_LEN: usize = 255;

/// Length of a symbolic link's target: what Linux can return in one page with its NUL.
pub const MAX_TARGET_LEN: usize = 4095;

/// Symbolic links followed on the way to one entry's directory: `MAXSYMLINKS` of Linux, so a path that is refused
/// here could not be reached inside the container either.
pub const MAX_SYMLINKS: u32 = 40;

/// Components of symbolic link targets walked for one image: links to long paths of links cost time out of proportion
/// to their size in the layer. Real images stay below the number of their entries.
pub const MAX_LINK_STEPS: u64 = 100_000_000;

/// Length of a PAX header or of a GNU long name, which are held in memory: what Go's `archive/tar` allows.
pub const MAX_SPECIAL_LEN: u64 = 1 << 20;

/// Length of an extended attribute's name with its prefix: `XATTR_NAME_MAX` of Linux.
pub const MAX_XATTR_NAME_LEN: usize = 255;

/// Length of an extended attribute's value: what the 16-bit field of EROFS holds, one byte less than Linux allows.
pub const MAX_XATTR_VALUE_LEN: usize = 65535;

/// Length of all attributes of one file: one of the largest kind and some of the usual ones. EROFS itself could hold
/// 256 KiB, ext4 without extra inodes 4 KiB.
pub const MAX_XATTRS_LEN: usize = 72 << 10;

/// Size of a file: what ext4 holds with blocks of 4 KiB, as every file may have to be copied into the writable layer. Only
/// a sparse file can get there, all others end with their layer.
pub const MAX_FILE_SIZE: u64 = 16 << 40;

/// Runs of data in one sparse file.
pub const MAX_EXTENTS: usize = 1 << 20;

/// What all sparse files of one image may add to its index: chunk tables, and blocks that have to be copied because their
/// data is not aligned.
pub const MAX_SPARSE_LEN: u64 = 256 << 20;

/// Blocks of the whole disk: EROFS counts them in 32 bits, and the last number means a hole. With blocks of 512 bytes
/// this is 2 TiB.
pub const MAX_BLOCKS: u64 = u32::MAX as u64;

/// The highest user or group id; the next one means "none" to Linux.
pub const MAX_ID: u32 = u32::MAX - 1;

/// The highest major and minor device number: 12 and 20 bits in Linux.
pub const MAX_DEVICE: (u32, u32) = ((1 << 12) - 1, (1 << 20) - 1);
