//! What bounds the work on a container's files.

/// How much is read, written or compared at a time, in bytes.
pub const CHUNK: usize = 64 << 10;

/// The deepest directory that is looked into, far deeper than any that people work in. Each level takes descriptors and
/// a piece of the stack.
pub const DEEPEST: usize = 512;
