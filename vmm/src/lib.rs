//! Moat's virtual machine monitor: boots one VM from one typed config and knows nothing of images or of the agent.

pub mod config;
pub mod launch;
pub mod layout;
mod log;
pub mod report;
pub mod thread;
pub mod virtio;
pub mod worker;

/// The unit of every disk, in bytes (virtio 1.2, section 5.2).
pub const SECTOR_SIZE: u64 = 512;
