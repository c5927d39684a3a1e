//! Virtio devices and their MMIO transport.

pub mod absent;
pub mod balloon;
pub mod block;
pub mod device;
pub mod interrupt;
pub mod mmio;
pub mod net;
pub mod queue;
pub mod registers;
pub mod rng;
pub mod server;
#[cfg(test)]
pub mod testutil;
pub mod vsock;
