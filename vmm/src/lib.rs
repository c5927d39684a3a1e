//! Moat's virtual machine monitor: boots one VM from one typed config and knows nothing of images or of the agent.

mod boot;
mod bus;
pub mod config;
mod console;
pub mod control;
pub mod devices;
pub mod fds;
pub mod jail;
pub mod launch;
pub mod layout;
mod log;
mod machine;
mod memory;
pub mod probe;
pub mod range;

pub mod report;
mod stop;
pub mod syscalls;
pub mod thread;
#[cfg(debug_assertions)]
mod trace;
mod vcpu;
pub mod virtio;
pub mod vm;
mod wiring;

/// The unit of every disk, in bytes (virtio 1.2, section 5.2).
pub const SECTOR_SIZE: u64 = 512;
