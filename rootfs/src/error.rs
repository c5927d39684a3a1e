//! What can be wrong with a layer, and where.

use std::io;

use crate::limits;

/// Why no index could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry of a layer is not acceptable.
    #[error("layer {layer}, entry {entry:?}: {problem}")]
    Entry {
        /// Counted from 1, the lowest layer first.
        layer: usize,
        /// The entry's name as far as it is known, otherwise its place in the layer.
        entry: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A layer could not be read.
    #[error("layer {layer}: reading at byte {offset}: {source}")]
    Read {
        /// Counted from 1, the lowest layer first.
        layer: usize,
        /// Where in the uncompressed layer.
        offset: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// More than [`limits::MAX_LAYERS`].
    #[error("the image has {0} layers; at most {max} are supported", max = limits::MAX_LAYERS)]
    TooManyLayers(usize),
    /// More than [`limits::MAX_BLOCKS`].
    #[error("the disk would have {0} blocks of 512 bytes; EROFS can address {max} (2 TiB)", max = limits::MAX_BLOCKS)]
    TooLarge(u64),
}

/// What is wrong with an entry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The header's bytes do not add up.
    #[error("the header's checksum is wrong: the layer is corrupt or not a tar archive")]
    Checksum,
    /// A zero block that is followed by something else.
    #[error("a single zero block stands in the middle of the layer")]
    LoneZeroBlock,
    /// The layer ends inside a header or inside data.
    #[error("the layer is truncated: it ends {0} bytes before the entry does")]
    Truncated(u64),
    /// A number that is no number or does not fit.
    #[error("the header field {0} is not a valid number")]
    Number(&'static str),
    /// A PAX record that cannot be parsed.
    #[error("a malformed extended (PAX) header record: {0}")]
    Pax(&'static str),
    /// A global PAX header that readers would take differently.
    #[error("a global extended (PAX) header sets {0}, on which tar readers disagree")]
    GlobalPax(String),
    /// Both a PAX path and a GNU long name, and they differ.
    #[error("the extended header and the GNU long name give the entry different {0}s")]
    TwoNames(&'static str),
    /// A header that describes the next entry, but there is none.
    #[error("an extended header or long name stands at the end of the layer without its entry")]
    Dangling,
    /// A sparse map that makes no sense.
    #[error("the sparse file's map is invalid: {0}")]
    Sparse(&'static str),
    /// An entry type that no container tool supports.
    #[error("entries of type {0:?} are not supported")]
    Kind(char),
    /// A NUL where it cannot be.
    #[error("the {0} contains a NUL byte")]
    Nul(&'static str),
    /// Something is larger than a bound in [`limits`].
    #[error("{what} {value} exceeds the limit of {limit}")]
    Limit {
        /// What was counted or measured.
        what: &'static str,
        /// How much it is; for sums, the first value that was too much.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// The name leads out of the image.
    #[error("the {0} climbs above the root of the image")]
    Climbs(&'static str),
    /// A name of no bytes.
    #[error("the name is empty")]
    NoName,
    /// The root of the image is not a directory.
    #[error("the root of the image can only be a directory")]
    Root,
    /// A component of the path is neither directory nor symbolic link.
    #[error("{0:?} on its path is not a directory")]
    NotADirectory(String),
    /// A whiteout for an empty name, `.` or `..`.
    #[error("the whiteout names no file")]
    Whiteout,
    /// A hard link to something that does not exist.
    #[error("the hard link's target {0:?} does not exist in this or a lower layer")]
    LinkTarget(String),
    /// A hard link to a directory.
    #[error("the hard link's target {0:?} is a directory")]
    LinkToDirectory(String),
    /// A symbolic link to nothing.
    #[error("the symbolic link's target is empty")]
    EmptyTarget,
}

impl Problem {
    /// Refuses `value` above `limit`.
    pub(crate) fn check(what: &'static str, value: u64, limit: u64) -> Result<(), Self> {
        if value > limit { Err(Self::Limit { what, value, limit }) } else { Ok(()) }
    }
}

/// A name for people: what is not UTF-8 is shown as escapes, and very long names are cut.
pub(crate) fn printable(name: &[u8]) -> String {
    const SHOWN: usize = 200;
    let shown = String::from_utf8_lossy(&name[..name.len().min(SHOWN)]).into_owned();
    if name.len() > SHOWN { format!("{shown}… ({} bytes)", name.len()) } else { shown }
}
