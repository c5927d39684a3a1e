//! What a network card asks of the kernel.

use crate::syscalls::{Allowed, Syscalls, any, is, only};
use crate::virtio::rate;

/// All of it.
pub const SYSCALLS: Syscalls =
    Syscalls { device: "net", worker: &[rate::ALARM_CALLS, NET], main: MAIN, descriptors: 0 };

/// None of these reaches another device than the tap's own.
const NET: &[Allowed] = &[
    any(libc::SYS_readv, "frames for the guest"),
    any(libc::SYS_writev, "frames from the guest"),
    only(libc::SYS_fcntl, &[is(1, libc::F_SETFL), is(2, libc::O_NONBLOCK)], "never waiting for a frame"),
    only(libc::SYS_ioctl, &[is(1, libc::TUNSETVNETHDRSZ as i32)], "the header in front of frames"),
    only(libc::SYS_ioctl, &[is(1, libc::TUNSETOFFLOAD as i32)], "what the guest's driver can take"),
    only(libc::SYS_ioctl, &[is(1, libc::TUNSETQUEUE as i32)], "how many queues the guest's driver uses"),
];

/// A card is built on the main thread when a command brings its taps.
const MAIN: &[Allowed] =
    &[only(libc::SYS_ioctl, &[is(1, libc::TUNGETIFF as i32)], "whether a descriptor is a tap")];
