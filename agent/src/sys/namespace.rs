//! Forks: into namespaces and control groups.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// How to fork.
#[derive(Clone, Copy, Default)]
pub struct Fork<'fd> {
    /// Whether the child is the first process of new PID, mount, UTS and IPC namespaces.
    pub new_namespaces: bool,
    /// The control group that the child is born in.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// A child, seen from its parent.
pub struct Child {
    /// Its number.
    pub pid: Pid,
    /// A descriptor of this process, which never means another one that gets the same number later.
    pub pidfd: OwnedFd,
}

impl Fork<'_> {
    /// Forks. Returns `None` in the child, which is a copy of the calling thread alone, as with fork(2): call it only
    /// from a process with one thread.
    ///
    /// # Errors
    /// Those of clone3(2).
    pub fn fork(self) -> nix::Result<Option<Child>> {
        let mut pidfd: libc::c_int = -1;
        let mut arguments = CloneArgs {
            flags: libc::CLONE_PIDFD as u64,
            pidfd: (&raw mut pidfd) as u64,
            exit_signal: libc::SIGCHLD as u64,
            ..CloneArgs::default()
        };
        if self.new_namespaces {
            let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
            arguments.flags |= namespaces as u64;
        }
        if let Some(cgroup) = self.cgroup {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = cgroup.as_raw_fd() as u64;
        }
        // SAFETY: the structure is the kernel's, of the size that is given, and only read; `pidfd` is an int that
        // outlives the call. Without CLONE_VM the child has its own copy of the memory and goes on from here, as
        // after fork(2).
        let pid =
            check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) })?;
        if pid == 0 {
            return Ok(None);
        }
        // SAFETY: the call has just made this descriptor, and nothing else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Some(Child { pid: Pid::from_raw(pid as i32), pidfd }))
    }
}
