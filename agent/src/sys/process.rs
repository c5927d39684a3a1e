//! Processes: capabilities, limits, signals, descriptors, precedence.

use std::os::fd::{AsRawFd, BorrowedFd};

use moat_protocol::ExitStatus;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::Pid;

use super::check;

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

/// Makes a write to a closed pipe an error instead of a signal.
///
/// # Errors
/// Those of signal(2).
pub fn ignore_broken_pipes() -> nix::Result<()> {
    // SAFETY: the handler is no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    Ok(())
}

/// Gives every signal its default action: a shell cannot handle a signal that was ignored when it started.
///
/// # Errors
/// Those of signal(2).
pub fn reset_signals() -> nix::Result<()> {
    for number in Signal::iterator().filter(|number| !matches!(number, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the handler is no code of ours.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Closes every descriptor above the standard ones but those in `kept`, in a child: it would keep pipes and connections
/// open that the agent closes.
///
/// # Errors
/// Those of close_range(2).
pub fn keep_only(kept: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, libc::c_uint::MAX, 0)
}

/// Closes every descriptor.
///
/// # Errors
/// Those of close_range(2).
pub fn close_all() -> nix::Result<()> {
    close_range(0, libc::c_uint::MAX, 0)
}

/// Marks every descriptor from `first` on to be closed by execve.
///
/// # Errors
/// Those of close_range(2).
pub fn close_on_exec_from(first: u32) -> nix::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    close_range(first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> nix::Result<()> {
    // SAFETY: only forks of the agent that never return to its code call this: the owners of the descriptors are never
    // used or dropped in them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    Ok(())
}

/// Gives the calling process real-time priority over all processes that have none. Its children have none.
///
/// # Errors
/// EPERM without CAP_SYS_NICE.
pub fn take_precedence() -> nix::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the structure is only read.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy, &raw const lowest) })?;
    Ok(())
}

/// Waits for a signal among those that are blocked, and returns its number; real-time signals included.
///
/// # Errors
/// EINTR.
pub fn wait_for_signal(signals: &SigSet) -> nix::Result<i32> {
    // SAFETY: the set is only read, and nothing is to be told beside the number.
    Errno::result(unsafe { libc::sigwaitinfo(signals.as_ref(), std::ptr::null_mut()) })
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
