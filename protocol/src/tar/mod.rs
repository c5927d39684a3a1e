//! Tar, as POSIX.1-2001 has it (ustar headers, PAX records), with GNU's long names on the way in: what archives are made
//! of that pass between host and guest. Both ends read and write them with this.
//!
//! Written here rather than taken from a crate because of what comes in: names and attributes are bounded before they
//! are held in memory, and a size that is told twice is the same size for everyone.

mod entry;
mod header;
mod pax;
mod reader;
mod writer;

pub use entry::{Entry, Kind};
pub use reader::{Reader, TarError};
pub use writer::Writer;
