//! Descriptors of this process: those it inherits, and how many it may have.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets this process open as many files as it may at all: a published port takes two.
pub fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        tracing::warn!("the number of open files stays limited as it was: {e}");
    }
}

/// Lets the runtime tell when `descriptor` can be read.
///
/// # Errors
/// When the kernel cannot watch such a descriptor.
pub fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps one open descriptor, always the same, until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// Takes ownership of descriptor `number`, which this process was started with, and closes it on exec.
///
/// # Errors
/// When there is no such descriptor, or it is one of the standard streams.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is one that the launcher gives to a program that opens nothing before it gets here, so no other
    // part of it owns the descriptor; F_SETFD below fails if it does not exist.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    nix::fcntl::fcntl(&descriptor, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_at_all() {
        raise_limit();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }
}
