//! What an archive may demand of the host. Each limit is far beyond what images in use need, and low enough that a
//! hostile archive costs bounded memory, disk and time.

/// The largest JSON document (manifest, index or config), in bytes; the size that registries allow a manifest.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// The most members of an archive. The oldest `docker save` format has four for each layer; this leaves room for 60
/// images of [`MAX_LAYERS`] layers.
pub const MAX_MEMBERS: usize = 32 << 10;

/// The longest name of a member, in bytes. The names that image archives use are under 100.
pub const MAX_MEMBER_NAME: usize = 1 << 10;

/// The largest extended header (PAX or GNU long name) of a member, in bytes: some names and numbers.
pub const MAX_EXTENDED_HEADER: u64 = 64 << 10;

/// How many symbolic links one after the other lead to a layer. `docker save` needs one.
pub const MAX_LINKS: usize = 8;

/// The most images of one archive; each costs the reading of several documents.
pub const MAX_IMAGES: usize = 1 << 10;

/// The most names that an archive gives its images: one for each of [`MAX_IMAGES`]. Every name is a file, and a line in its
/// image's record.
pub const MAX_NAMES: usize = MAX_IMAGES;

/// How deep indexes of manifests are nested. Image builders make one or two levels.
pub const MAX_INDEX_DEPTH: usize = 4;

/// The most layers of an image: twice what Docker's storage can stack. Each is an open file of a running VM.
pub const MAX_LAYERS: usize = 256;

/// The largest layer, uncompressed, in bytes.
pub const MAX_LAYER: u64 = 64 << 30;

/// The most bytes that all layers of an archive have, uncompressed.
pub const MAX_EXPANDED: u64 = 256 << 30;

/// Up to here an archive may expand in any ratio, in bytes. Runs of zeros cost time but no disk space, and a layer may
/// well hold a sparse file of some GB that compresses to nothing.
pub const EXPANSION_FLOOR: u64 = 4 << 30;

/// Beyond [`EXPANSION_FLOOR`], how many bytes come from one byte of the archive, at most.
pub const MAX_EXPANSION: u64 = 500;

/// Like [`EXPANSION_FLOOR`], counting only what takes disk space.
pub const STORED_FLOOR: u64 = 1 << 30;

/// Beyond [`STORED_FLOOR`], how many bytes that take disk space come from one byte of the archive, at most. Text logs,
/// the most compressible thing in images, reach about 30.
pub const MAX_STORED_EXPANSION: u64 = 200;

/// The largest window of a zstd stream, as a power of two: 128 MiB of memory, the most that `zstd` itself takes
/// without being asked.
pub const ZSTD_WINDOW_LOG: u32 = 27;

/// What is read after the end mark of an archive before the rest is ignored, in bytes: the padding that `tar` adds,
/// and then some, so that a program writing into our standard input is not killed by a closed pipe.
pub const MAX_PADDING: u64 = 16 << 20;
