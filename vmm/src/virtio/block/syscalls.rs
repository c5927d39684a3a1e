//! What a disk asks of the kernel.

use crate::syscalls::{Allowed, Syscalls, any, is, only};
use crate::virtio::rate;

/// All of it.
pub const SYSCALLS: Syscalls =
    Syscalls { device: "block", worker: &[rate::ALARM_CALLS, BLOCK], main: &[], descriptors: 0 };

const BLOCK: &[Allowed] = &[
    any(libc::SYS_preadv, "reading from disks"),
    any(libc::SYS_pwritev, "writing to disks; the descriptor says which may be written"),
    any(libc::SYS_fdatasync, "flush"),
    only(libc::SYS_fallocate, &[is(1, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)], "discard"),
    only(
        libc::SYS_fallocate,
        &[is(1, libc::FALLOC_FL_ZERO_RANGE)],
        "write zeros; with KEEP_SIZE it would take blocks behind the end of the disk, which no limit forbids",
    ),
];
