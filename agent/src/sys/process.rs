//! Processes: birth in new namespaces, capabilities, signals.

use std::os::fd::{AsRawFd, BorrowedFd};

use moat_protocol::ExitStatus;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::Pid;

use super::check;

/// The fields of clone3(2)'s structure up to `cgroup`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks into new PID, mount, UTS and IPC namespaces and, if given, into a cgroup. Returns `None` in the child.
///
/// The child is a copy of the calling thread alone, as with fork(2): call it only from a process with one thread.
///
/// # Errors
/// Those of clone3(2).
pub fn fork_into_namespaces(cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Option<Pid>> {
    let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let mut arguments =
        CloneArgs { flags: namespaces as u64, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the structure is the kernel's, of the size that is given, and only read. Without CLONE_VM the child has
    // its own copy of the memory and goes on from here, as after fork(2).
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) })?;
    Ok((pid != 0).then(|| Pid::from_raw(pid as i32)))
}

/// Ends the process without running anything that was registered for its end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Sends a signal by number; real-time signals included.
///
/// # Errors
/// Those of kill(2).
pub fn kill(pid: Pid, number: i32) -> nix::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(pid.as_raw(), number) }.into())?;
    Ok(())
}

/// Makes a write to a closed pipe an error instead of a signal, or the other way round.
///
/// # Errors
/// None that is known.
pub fn ignore_broken_pipes(ignore: bool) -> nix::Result<()> {
    let handler = if ignore { SigHandler::SigIgn } else { SigHandler::SigDfl };
    // SAFETY: neither handler is code of ours.
    unsafe { signal(Signal::SIGPIPE, handler) }?;
    Ok(())
}

/// Marks every descriptor from `first` on to be closed by execve.
///
/// # Errors
/// Those of close_range(2).
pub fn close_on_exec_from(first: u32) -> nix::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: nothing is closed here, and execve is the next thing to happen to this process.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Sets of capabilities, a bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// In force.
    pub effective: u64,
    /// Can be brought into force.
    pub permitted: u64,
    /// Passed on to files that ask for it.
    pub inheritable: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Sets the calling thread's capabilities.
///
/// # Errors
/// EPERM when a set is larger than allowed.
pub fn set_capabilities(sets: CapabilitySets) -> nix::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // The low halves first, then the high ones; the casts cut on purpose.
    let half = |shift: u32| CapabilityData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: header and data are laid out as version 3 wants them and only read.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    Ok(())
}

/// Takes a capability out of the bounding set for good.
///
/// # Errors
/// EINVAL when the kernel has no such capability.
pub fn drop_bounding(capability: u32) -> nix::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }.into())?;
    Ok(())
}

/// Puts a capability into the ambient set.
///
/// # Errors
/// EPERM when it is not both permitted and inheritable.
pub fn raise_ambient(capability: u32) -> nix::Result<()> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(capability), 0, 0) }.into())?;
    Ok(())
}

/// Sets a resource limit by the kernel's number.
///
/// # Errors
/// EINVAL when soft is above hard, EPERM when hard is above what is allowed.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure is only read; an unknown resource is refused with EINVAL.
    Errno::result(unsafe { libc::setrlimit(resource, &raw const limit) })?;
    Ok(())
}

/// Reaps one child that has ended, if there is one. Unlike nix's `waitpid` it knows real-time signals.
///
/// # Errors
/// ECHILD when there is no child at all.
pub fn reap() -> nix::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: the kernel writes an int.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?;
    // Only the end of a child is reported without WUNTRACED and WCONTINUED. Both casts keep eight bits at most.
    let how = if libc::WIFEXITED(status) {
        ExitStatus::Code(libc::WEXITSTATUS(status) as u8)
    } else {
        ExitStatus::Signal(libc::WTERMSIG(status) as u8)
    };
    Ok((pid != 0).then(|| (Pid::from_raw(pid), how)))
}
