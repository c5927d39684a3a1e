//! Tar, the format of archives between host and guest: ustar headers and PAX records (POSIX.1-2001), and on the way in
//! GNU's long names too. Both ends read and write with this module.
//!
//! It is written here, and not taken from a crate, because archives are hostile input. Names and attributes are bounded
//! before they are held in memory, and a size that an archive states twice has one meaning.

mod entry;
mod header;
mod pax;
mod reader;
mod writer;

pub use entry::{Entry, Kind};
pub use reader::{Reader, TarError};
pub use writer::Writer;
