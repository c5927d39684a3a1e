//! poll(2) with POLLRDHUP, which nix does not know.

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;

/// Events at a descriptor: a set of the constants below.
pub type Events = i16;

/// There is something to read, or the end.
pub const IN: Events = libc::POLLIN;
/// There is room to write.
pub const OUT: Events = libc::POLLOUT;
/// The other side of a socket will send nothing more.
pub const RDHUP: Events = libc::POLLRDHUP;
/// The other side is gone; always reported.
pub const GONE: Events = libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;

/// A descriptor to wait on, and the events that were found.
#[repr(transparent)]
pub struct Interest<'fd>(libc::pollfd, PhantomData<BorrowedFd<'fd>>);

impl<'fd> Interest<'fd> {
    /// Waits for `events`, and always for [`GONE`].
    pub fn new(fd: BorrowedFd<'fd>, events: Events) -> Self {
        Self(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }, PhantomData)
    }

    /// The events that the last wait found.
    pub fn found(&self) -> Events {
        self.0.revents
    }
}

/// Waits for an event at one of the descriptors, for `limit` at most. An interrupted wait finds nothing.
///
/// # Errors
/// Those of poll(2).
pub fn wait(interests: &mut [Interest<'_>], limit: Option<Duration>) -> nix::Result<()> {
    // Rounded up, so that a wait for less than a millisecond is one of a millisecond.
    let limit = limit.map_or(-1, |limit| i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    let count = interests.len() as libc::nfds_t;
    // SAFETY: an `Interest` is a `pollfd`, there are as many as the call is told, and their descriptors are open.
    match Errno::result(unsafe { libc::poll(interests.as_mut_ptr().cast(), count, limit) }) {
        Ok(_) => Ok(()),
        Err(Errno::EINTR) => {
            interests.iter_mut().for_each(|interest| interest.0.revents = 0);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
