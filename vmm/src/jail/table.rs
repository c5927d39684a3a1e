//! What each kind of thread may ask of the kernel, and why. Everything else ends the process.
//!
//! The reasons speak of a static glibc: the allocator, locks and the end of threads make calls of their own. What a device
//! needs beyond this stands in its own `syscalls.rs`, which the [table of devices](crate::devices::TABLE) leads to.

use crate::devices::TABLE;
use crate::syscalls::{Allowed, any, is, is_but_for, null, only, with, without};
use crate::thread::ThreadKind;

/// `KVM_RUN` of `linux/kvm.h`: `_IO(0xae, 0x80)`.
const KVM_RUN: i32 = 0xae80;

/// Which clock a wait is told in, and whether other processes could share it.
const FUTEX_FLAGS: i32 = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;

/// What a Rust thread needs to live, to panic and to end.
const EVERY: &[Allowed] = &[
    any(libc::SYS_read, "event descriptors"),
    any(libc::SYS_write, "event descriptors, log lines, a panic's message"),
    any(libc::SYS_close, "dropping descriptors"),
    #[cfg(debug_assertions)]
    only(libc::SYS_fcntl, &[is(1, libc::F_GETFD)], "std asserts that what it closes is open"),
    // The operations that std and the C library need, and none of those that move waiters or lend priorities.
    only(libc::SYS_futex, &[is_but_for(1, libc::FUTEX_WAIT, FUTEX_FLAGS)], "locks of the C library"),
    only(
        libc::SYS_futex,
        &[is_but_for(1, libc::FUTEX_WAIT_BITSET, FUTEX_FLAGS)],
        "locks, channels, joining threads",
    ),
    only(libc::SYS_futex, &[is_but_for(1, libc::FUTEX_WAKE, FUTEX_FLAGS)], "all of these"),
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
        "a command, and the descriptors that come with it",
    ),
    only(libc::SYS_sendto, &[is(3, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL), null(4)], "its answer"),
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

/// The loop of [`crate::virtio::worker`].
const WORKER: &[Allowed] = &[
    only(libc::SYS_epoll_create1, &[is(0, libc::EPOLL_CLOEXEC)], "a handler's set of descriptors"),
    any(libc::SYS_epoll_ctl, "adding and removing them"),
    any(libc::SYS_epoll_wait, "waiting for them"),
];

/// Every kind of thread.
pub fn kinds() -> impl Iterator<Item = ThreadKind> {
    let workers = TABLE.iter().map(|row| ThreadKind::Worker(row.syscalls));
    [ThreadKind::Main, ThreadKind::Vcpu].into_iter().chain(workers)
}

/// All that threads of this kind may do.
pub fn of(kind: ThreadKind) -> Vec<&'static Allowed> {
    let mut lists = vec![EVERY];
    match kind {
        ThreadKind::Main => {
            lists.push(MAIN);
            lists.extend(TABLE.iter().map(|row| row.syscalls.main));
        }
        ThreadKind::Vcpu => lists.push(VCPU),
        ThreadKind::Worker(syscalls) => {
            lists.push(WORKER);
            lists.extend(syscalls.worker);
        }
    }
    lists.into_iter().flatten().collect()
}
