//! How a tar archive's header writes numbers and its checksum (POSIX.1-1988, with GNU's binary numbers).
//!
//! Readers of one archive must not differ about a number: where one takes a size for zero and another does not, the
//! second sees entries that the first takes for contents (CVE-2025-62518). So all readers of Moat share these functions.
//! What a number may be, such as a size that is not negative, each reader decides for itself.

mod block;
mod checksum;
mod number;

pub use block::{BLOCK, Block, padding};
pub use checksum::{checksum, checksum_holds};
pub use number::number;
