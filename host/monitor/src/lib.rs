//! A container's monitor as its clients see it: how it is started ([`launch`]), what is said on its socket ([`wire`]) and
//! the client's end of that ([`Connection`]).
//!
//! The monitor itself is the program `moat-monitor` of this package.

pub mod artifacts;
mod client;
pub mod config;
pub mod descriptors;
pub mod launch;
pub mod wire;

pub use client::Connection;
/// Whether this host can run a virtual machine.
pub use moat_vmm::probe;
