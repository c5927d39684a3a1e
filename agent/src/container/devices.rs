//! /dev: the nodes and links that runc makes, in a fresh tmpfs.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::symlinkat;

use crate::sys::mount::clone_tree;

/// Name, major and minor of the character devices; everyone may read and write them.
const NODES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Name and target of the links. There is no `core`: the guest's kernel has no /proc/kcore.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The container's /dev.
pub struct Devices(OwnedFd);

/// Fills an empty /dev. The umask must be zero.
///
/// # Errors
/// Those of mknodat(2) and symlinkat(2).
pub fn populate(dev: OwnedFd) -> nix::Result<Devices> {
    for (name, major, minor) in NODES {
        mknodat(&dev, name, SFlag::S_IFCHR, Mode::from_bits_retain(0o666), makedev(major, minor))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name)?;
    }
    Ok(Devices(dev))
}

impl Devices {
    /// An unattached mount of the null device.
    ///
    /// # Errors
    /// Those of open_tree(2).
    pub fn clone_null(&self) -> nix::Result<OwnedFd> {
        clone_tree(&self.0, c"null")
    }

    /// Opens the null device.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn open_null(&self) -> nix::Result<OwnedFd> {
        openat(&self.0, c"null", OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())
    }

    /// Makes the file that a terminal is mounted on.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn make_console(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        openat(&self.0, c"console", flags, Mode::from_bits_retain(0o600)).map(drop)?;
        openat(&self.0, c"console", OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())
    }
}
