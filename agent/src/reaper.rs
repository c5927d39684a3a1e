//! The one reaper: every process of the guest whose parent is gone becomes the agent's child.

use std::os::fd::{AsFd, BorrowedFd};

use moat_protocol::ExitStatus;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::sys;

/// Tells when children end.
pub struct Reaper(SignalFd);

impl Reaper {
    /// Blocks SIGCHLD. From now on the end of a child makes [`Self::as_fd`] readable.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn new() -> nix::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block()?;
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self)
    }

    /// The descriptor to wait on.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reaps every child that has ended. The first process of a PID namespace comes after the others of the namespace.
    pub fn reap(&self) -> Vec<(Pid, ExitStatus)> {
        while let Ok(Some(_)) = self.0.read_signal() {}
        // An error means that there is no child at all.
        std::iter::from_fn(|| sys::process::reap().ok().flatten()).collect()
    }

    /// Reaps what has ended and returns whether no child is left.
    pub fn is_alone(&self) -> bool {
        self.reap();
        sys::process::reap() == Err(Errno::ECHILD)
    }
}
