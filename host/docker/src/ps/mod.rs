//! Containers as `ps` lists them.

mod select;
mod show;

pub use select::{Facts, Selection, descendants};
pub use show::{Shown, headers, raw_format};

/// The default format.
pub const COLUMNS: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

/// How much of the disk a container takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// What the container has written.
    pub written: u64,
    /// The same and its image; 0 when that is not known.
    pub whole: u64,
}
