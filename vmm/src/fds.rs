//! The inherited descriptors. The configuration names them by number, and each is taken over once.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use serde::{Deserialize, Serialize};

/// The number of an inherited file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fd(pub i32);

/// Why a descriptor in the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FdError {
    /// It is not open, or one of the first three.
    #[error("{what}: descriptor {fd} is not open")]
    NotOpen {
        /// Which field of the configuration.
        what: String,
        /// The number.
        fd: RawFd,
    },
    /// It is named for two things that cannot share it.
    #[error("{what}: descriptor {fd} is already used for something else")]
    Taken {
        /// Which field of the configuration.
        what: String,
        /// The number.
        fd: RawFd,
    },
    /// It is not open for what it is needed for.
    #[error("{what}: descriptor {fd} is not open for {needed}")]
    Mode {
        /// Which field of the configuration.
        what: String,
        /// The number.
        fd: RawFd,
        /// What it would have to be open for.
        needed: &'static str,
    },
}

/// What a descriptor is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    Both,
}

/// The descriptors taken over so far. Each number has one owner.
#[derive(Default)]
pub struct InheritedFds {
    shared: HashMap<RawFd, Arc<File>>,
    taken: Vec<RawFd>,
}

impl InheritedFds {
    /// Takes a descriptor over that nothing else may use.
    ///
    /// # Errors
    /// When it is not open, not open for `access`, or already taken.
    pub fn take(&mut self, fd: Fd, what: &str, access: Access) -> Result<OwnedFd, FdError> {
        if self.shared.contains_key(&fd.0) {
            return Err(FdError::Taken { what: what.to_owned(), fd: fd.0 });
        }
        self.claim(fd, what, access)
    }

    /// Takes a descriptor over for reading at given positions, which several things may do.
    ///
    /// # Errors
    /// As [`InheritedFds::take`].
    pub fn share(&mut self, fd: Fd, what: &str) -> Result<Arc<File>, FdError> {
        if let Some(file) = self.shared.get(&fd.0) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::from(self.claim(fd, what, Access::Read)?));
        self.shared.insert(fd.0, Arc::clone(&file));
        Ok(file)
    }

    /// The numbers taken over so far; some may be closed again.
    pub fn numbers(&self) -> &[RawFd] {
        &self.taken
    }

    fn claim(&mut self, fd: Fd, what: &str, access: Access) -> Result<OwnedFd, FdError> {
        let Fd(fd) = fd;
        if self.taken.contains(&fd) {
            return Err(FdError::Taken { what: what.to_owned(), fd });
        }
        let not_open = || FdError::NotOpen { what: what.to_owned(), fd };
        if fd <= libc::STDERR_FILENO {
            return Err(not_open());
        }
        // SAFETY: nothing in this process has opened or owns a descriptor with this number: numbers come from the
        // launcher, this is called before anything else is opened, and each number is claimed once. That it is open
        // at all is what the next call finds out.
        let owned = unsafe { borrow(fd) };
        let flags = fcntl(owned, FcntlArg::F_GETFL).map_err(|_| not_open())?;
        let mode = OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE;
        let (suits, needed) = match access {
            Access::Read => (mode != OFlag::O_WRONLY, "reading"),
            Access::Write => (mode != OFlag::O_RDONLY, "writing"),
            Access::Both => (mode == OFlag::O_RDWR, "reading and writing"),
        };
        if !suits {
            return Err(FdError::Mode { what: what.to_owned(), fd, needed });
        }
        fcntl(owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| not_open())?;
        self.taken.push(fd);
        // SAFETY: as above, and now known to be open.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// # Safety
/// The descriptor must stay open for the call it is used in, if it is open.
unsafe fn borrow(fd: RawFd) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: passed on to the caller; -1 is excluded by its check.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    fn open(write: bool) -> Fd {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut options = File::options();
        Fd(options.read(true).write(write).open(file.path()).unwrap().into_raw_fd())
    }

    #[test]
    fn a_number_has_one_owner() {
        let mut fds = InheritedFds::default();
        let fd = open(true);
        let _owned = fds.take(fd, "a", Access::Both).unwrap();
        assert!(matches!(fds.take(fd, "b", Access::Read), Err(FdError::Taken { .. })));
        assert!(matches!(fds.share(fd, "b"), Err(FdError::Taken { .. })));
        let shared = open(false);
        let first = fds.share(shared, "a").unwrap();
        assert!(Arc::ptr_eq(&first, &fds.share(shared, "b").unwrap()));
        assert!(matches!(fds.take(shared, "c", Access::Read), Err(FdError::Taken { .. })));
    }

    #[test]
    fn what_is_not_open_or_not_open_enough_is_refused() {
        let mut fds = InheritedFds::default();
        for number in [-5, -1, 0, 2, 100_000] {
            assert!(matches!(fds.take(Fd(number), "a", Access::Read), Err(FdError::NotOpen { .. })));
        }
        let error = fds.take(open(false), "disk 1", Access::Both).map(drop).unwrap_err();
        assert!(error.to_string().starts_with("disk 1: descriptor "), "{error}");
        assert!(error.to_string().ends_with(" is not open for reading and writing"), "{error}");
    }
}
