//! What each kind of thread may ask of the kernel, and why. Everything else ends the process.
//!
//! The reasons speak of a static glibc: the allocator, locks and the end of threads make calls of their own.

use libc::c_long;

use crate::thread::ThreadKind;

/// A call that is allowed when all of `arguments` hold. A call may be listed more than once.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Its number.
    pub call: c_long,
    /// What its arguments have to be.
    pub arguments: &'static [Argument],
    /// What it is needed for.
    pub why: &'static str,
}

/// The lower 32 bits of an argument, all that the kernel looks at in the arguments checked here, are `value` where
/// `mask` has ones.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// From 0.
    pub index: u8,
    /// Which bits count.
    pub mask: u32,
    /// What they have to be.
    pub value: u32,
}

const fn any(call: c_long, why: &'static str) -> Allowed {
    Allowed { call, arguments: &[], why }
}

const fn only(call: c_long, arguments: &'static [Argument], why: &'static str) -> Allowed {
    Allowed { call, arguments, why }
}

const fn is(index: u8, value: i32) -> Argument {
    Argument { index, mask: u32::MAX, value: value as u32 }
}

const fn without(index: u8, flag: i32) -> Argument {
    Argument { index, mask: flag as u32, value: 0 }
}

const fn with(index: u8, flag: i32) -> Argument {
    Argument { index, mask: flag as u32, value: flag as u32 }
}

/// `KVM_RUN` of `linux/kvm.h`: `_IO(0xae, 0x80)`.
const KVM_RUN: i32 = 0xae80;

/// What a Rust thread needs to live, to panic and to end.
const EVERY: &[Allowed] = &[
    any(libc::SYS_read, "event descriptors"),
    any(libc::SYS_write, "event descriptors, log lines, a panic's message"),
    any(libc::SYS_close, "dropping descriptors"),
    #[cfg(debug_assertions)]
    only(libc::SYS_fcntl, &[is(1, libc::F_GETFD)], "std asserts that what it closes is open"),
    any(libc::SYS_futex, "locks, channels, joining threads"),
    any(libc::SYS_sched_yield, "channels, before they sleep"),
    any(libc::SYS_clock_gettime, "the log's rate limit, where there is no vDSO clock"),
    any(libc::SYS_brk, "the heap"),
    only(
        libc::SYS_mmap,
        &[without(2, libc::PROT_EXEC), with(3, libc::MAP_ANONYMOUS)],
        "large allocations, the signal stack",
    ),
    any(libc::SYS_munmap, "freeing those; the end of a thread"),
    any(libc::SYS_mremap, "growing large allocations"),
    only(libc::SYS_mprotect, &[without(2, libc::PROT_EXEC)], "guard pages of the heap and of stacks"),
    only(libc::SYS_madvise, &[is(2, libc::MADV_DONTNEED)], "a dying thread's stack; the balloon's pages"),
    any(libc::SYS_sigaltstack, "the end of a thread"),
    any(libc::SYS_rt_sigprocmask, "the end of a thread; sending a signal to one"),
    any(libc::SYS_rt_sigreturn, "coming back from the signal that wakes virtual CPUs"),
    any(libc::SYS_restart_syscall, "going on after a stop signal"),
    any(libc::SYS_gettid, "a panic's message"),
    any(libc::SYS_exit, "the end of a thread"),
];

const MAIN: &[Allowed] = &[
    any(libc::SYS_poll, "waiting for the reason to stop, and for commands"),
    only(
        libc::SYS_recvmsg,
        &[is(2, libc::MSG_DONTWAIT | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC)],
        "a command, and the taps that come with it",
    ),
    only(libc::SYS_ioctl, &[is(1, libc::TUNGETIFF as i32)], "what a tap that came is"),
    only(libc::SYS_sendto, &[is(3, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL), is(4, 0)], "its answer"),
    any(libc::SYS_getpid, "the first argument of tgkill"),
    // There is no other process in the namespace to send it to.
    only(libc::SYS_tgkill, &[is(0, 1)], "getting virtual CPUs out of the guest"),
    any(libc::SYS_clock_nanosleep, "doing that again after a moment"),
    any(libc::SYS_exit_group, "the end"),
];

const VCPU: &[Allowed] = &[
    any(libc::SYS_poll, "whether the reader of the debug console takes more"),
    only(libc::SYS_ioctl, &[is(1, KVM_RUN)], "running the guest"),
    only(
        libc::SYS_fcntl,
        &[is(1, libc::F_DUPFD_CLOEXEC)],
        "handing a queue's event to the device when the driver starts it",
    ),
];

/// The loop of [`crate::worker`].
const WORKER: &[Allowed] = &[
    only(libc::SYS_epoll_create1, &[is(0, libc::EPOLL_CLOEXEC)], "a handler's set of descriptors"),
    any(libc::SYS_epoll_ctl, "adding and removing them"),
    any(libc::SYS_epoll_wait, "waiting for them"),
];

const BLOCK: &[Allowed] = &[
    any(libc::SYS_preadv, "reading from disks"),
    any(libc::SYS_pwritev, "writing to disks; the descriptor says which may be written"),
    any(libc::SYS_fdatasync, "flush"),
    only(libc::SYS_fallocate, &[is(1, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE)], "discard"),
    only(
        libc::SYS_fallocate,
        &[is(1, libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE)],
        "write zeros",
    ),
];

/// None of these reaches another device than the tap's own.
const NET: &[Allowed] = &[
    any(libc::SYS_readv, "frames for the guest"),
    any(libc::SYS_writev, "frames from the guest"),
    only(libc::SYS_fcntl, &[is(1, libc::F_SETFL), is(2, libc::O_NONBLOCK)], "never waiting for a frame"),
    only(libc::SYS_ioctl, &[is(1, libc::TUNSETVNETHDRSZ as i32)], "the header in front of frames"),
    only(libc::SYS_ioctl, &[is(1, libc::TUNSETOFFLOAD as i32)], "what the guest's driver can take"),
    only(libc::SYS_ioctl, &[is(1, libc::TUNSETQUEUE as i32)], "how many queues the guest's driver uses"),
];

/// The alarm of [`crate::rate`].
const LIMITED: &[Allowed] = &[
    only(
        libc::SYS_timerfd_create,
        &[is(0, libc::CLOCK_MONOTONIC), is(1, libc::TFD_CLOEXEC)],
        "waiting for tokens",
    ),
    any(libc::SYS_timerfd_settime, "setting that"),
];

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
    only(libc::SYS_sendto, &[is(3, libc::MSG_NOSIGNAL), is(4, 0)], "std's write to a socket"),
    only(libc::SYS_shutdown, &[], "the end of one direction"),
];

const RNG: &[Allowed] = &[any(libc::SYS_getrandom, "the device's bytes")];

/// All that threads of this kind may do.
pub fn of(kind: ThreadKind) -> impl Iterator<Item = &'static Allowed> {
    let own: [&[Allowed]; 3] = match kind {
        ThreadKind::Main => [MAIN, &[], &[]],
        ThreadKind::Vcpu => [VCPU, &[], &[]],
        ThreadKind::Block => [WORKER, LIMITED, BLOCK],
        ThreadKind::Net => [WORKER, LIMITED, NET],
        ThreadKind::Vsock => [WORKER, VSOCK, &[]],
        ThreadKind::Rng => [WORKER, RNG, &[]],
        // Its only call of its own is the madvise that every thread has.
        ThreadKind::Balloon => [WORKER, &[], &[]],
    };
    EVERY.iter().chain(own.into_iter().flatten())
}
