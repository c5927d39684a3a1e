//! /dev: the nodes and links that runc makes, in a fresh tmpfs.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::unistd::symlinkat;

use crate::sys::mount::clone_tree;

/// Name, major and minor of the character devices. All users may read and write them.
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

/// A device of the guest.
pub struct Node {
    /// Where it is below /dev.
    path: PathBuf,
    kind: SFlag,
    mode: Mode,
    number: u64,
}

/// Lists every device of the guest that is in `dev`, a devtmpfs. File systems that are mounted below it are left out.
///
/// # Errors
/// When it cannot be read.
pub fn list(dev: &Path) -> io::Result<Vec<Node>> {
    let mut found = Vec::new();
    list_below(dev, Path::new(""), fs::metadata(dev)?.dev(), &mut found)?;
    Ok(found)
}

fn list_below(dev: &Path, below: &Path, filesystem: u64, found: &mut Vec<Node>) -> io::Result<()> {
    for entry in fs::read_dir(dev.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let metadata = entry.metadata()?;
        let kind = SFlag::from_bits_truncate(metadata.mode() & SFlag::S_IFMT.bits());
        match kind {
            SFlag::S_IFDIR if metadata.dev() == filesystem => list_below(dev, &path, filesystem, found)?,
            SFlag::S_IFCHR | SFlag::S_IFBLK => {
                let mode = Mode::from_bits_truncate(metadata.mode());
                found.push(Node { path, kind, mode, number: metadata.rdev() });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Adds nodes to a /dev. Those that are there stay as they are.
///
/// # Errors
/// Those of mkdirat(2) and mknodat(2).
fn add(dev: &OwnedFd, nodes: &[Node]) -> nix::Result<()> {
    for Node { path, kind, mode, number } in nodes {
        let mut above = PathBuf::new();
        for part in path.parent().into_iter().flatten() {
            above.push(part);
            existing(mkdirat(dev, &above, Mode::from_bits_retain(0o755)))?;
        }
        existing(mknodat(dev, path, *kind, *mode, *number))?;
    }
    Ok(())
}

fn existing(made: nix::Result<()>) -> nix::Result<()> {
    if made == Err(Errno::EEXIST) { Ok(()) } else { made }
}

/// Fills an empty /dev, with `more` beside the usual nodes. The umask must be zero.
///
/// # Errors
/// Those of mknodat(2) and symlinkat(2).
pub fn populate(dev: OwnedFd, more: &[Node]) -> nix::Result<Devices> {
    for (name, major, minor) in NODES {
        mknodat(&dev, name, SFlag::S_IFCHR, Mode::from_bits_retain(0o666), makedev(major, minor))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name)?;
    }
    add(&dev, more)?;
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

    /// Makes /dev/console, the file that a terminal is mounted on.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn make_console(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        openat(&self.0, c"console", flags, Mode::from_bits_retain(0o600)).map(drop)?;
        openat(&self.0, c"console", OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())
    }
}
