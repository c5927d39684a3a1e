//! Virtio devices and their MMIO transport. Each device has a folder; [`crate::devices`] has the table of them.

pub mod absent;
pub mod balloon;
pub mod block;
pub mod buffers;
pub mod device;
pub mod error;
pub mod handles;
pub mod interrupt;
pub mod lifecycle;
pub mod mmio;
pub mod net;
pub mod plan;
pub mod queue;
pub mod rate;
pub mod registers;
pub mod rng;
pub mod server;
pub mod state;
#[cfg(test)]
pub mod testutil;
pub mod vsock;
pub mod worker;
