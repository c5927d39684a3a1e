//! Docker's words, as pure functions: the values of flags and filters, Go's templates, the shapes of JSON, and times
//! and sizes as Docker prints them.
//!
//! Nothing here reads a file or a clock, or asks a container. The caller passes what a shape needs beyond the records.

pub mod absent;
pub mod detach_keys;
pub mod events;
pub mod filter;
pub mod history;
pub mod human;
pub mod idle;
pub mod images;
pub mod info;
pub mod inspect;
pub mod json;
pub mod moment;
pub mod network;
pub mod parse;
pub mod pattern;
pub mod ports;
pub mod ps;
pub mod stats;
pub mod template;
pub mod top;
pub mod version;
