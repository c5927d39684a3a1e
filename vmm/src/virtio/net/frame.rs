//! What is known of every frame, and the bounds that senders and receivers share.

/// The header in front of each frame, in bytes (virtio 1.2, section 5.1.6); all of its fields are there since version 1.
pub const HEADER_BYTES: usize = 12;
/// The addresses, type and tag of Ethernet, in bytes.
pub const ETHERNET_BYTES: u64 = 18;
/// The most bytes of a frame with its header: a packet of 64 KiB, which the kernel that sends it on cuts up, with the
/// addresses, type and tag of Ethernet.
pub const MAX_FRAME: u64 = HEADER_BYTES as u64 + ETHERNET_BYTES + 65_535;
/// Descriptors of one frame: Linux makes them from up to 17 fragments, a head and a header.
pub const MAX_DESCRIPTORS: usize = 64;
/// Frames that a queue moves before the others get their turn.
pub const BUDGET: usize = 64;
