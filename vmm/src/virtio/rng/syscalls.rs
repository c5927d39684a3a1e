//! What the entropy device asks of the kernel.

use crate::syscalls::{Allowed, Syscalls, any};

/// All of it.
pub const SYSCALLS: Syscalls = Syscalls { device: "rng", worker: &[RNG], main: &[], descriptors: 0 };

const RNG: &[Allowed] = &[any(libc::SYS_getrandom, "the device's bytes")];
