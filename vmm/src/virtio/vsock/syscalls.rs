//! What the vsock device asks of the kernel.

use super::switch::MAX_CONNECTIONS;
use crate::syscalls::{Allowed, Syscalls, any, is, null, only};

/// All of it.
pub const SYSCALLS: Syscalls =
    Syscalls { device: "vsock", worker: &[VSOCK], main: &[], descriptors: MAX_CONNECTIONS as u64 };

const VSOCK: &[Allowed] = &[
    only(
        libc::SYS_socketpair,
        &[
            is(0, libc::AF_UNIX),
            is(1, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK),
            is(2, 0),
        ],
        "a new connection",
    ),
    only(
        libc::SYS_sendmsg,
        &[is(2, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)],
        "handing one end to the launcher",
    ),
    only(libc::SYS_sendto, &[is(3, libc::MSG_NOSIGNAL), null(4)], "std's write to a socket"),
    any(libc::SYS_shutdown, "the end of one direction"),
];
