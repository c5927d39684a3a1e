//! Virtio devices and their MMIO transport.

pub mod device;
pub mod interrupt;
