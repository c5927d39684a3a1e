//! What the balloon asks of the kernel: its only call, the `madvise` that gives pages back, is one that every thread has.

use crate::syscalls::Syscalls;

/// All of it.
pub const SYSCALLS: Syscalls = Syscalls { device: "balloon", worker: &[], main: &[], descriptors: 0 };
