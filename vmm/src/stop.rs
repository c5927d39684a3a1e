//! The one reason why a VM stops: the first thread that has one gives it, and the main thread wakes up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::report::StopReason;

/// Shared by the main thread and the virtual CPUs.
pub struct Stop {
    reason: OnceLock<StopReason>,
    event: EventFd,
}

impl Stop {
    /// Nothing has happened yet.
    ///
    /// # Errors
    /// When there is no event descriptor to be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            reason: OnceLock::new(),
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// Gives a reason to stop. Only the first counts.
    pub fn give(&self, reason: StopReason) {
        let _ = self.reason.set(reason);
        let _ = self.event.write(1);
    }

    /// The reason, if there is one.
    pub fn reason(&self) -> Option<&StopReason> {
        self.reason.get()
    }

    /// Readable once there is a reason.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
