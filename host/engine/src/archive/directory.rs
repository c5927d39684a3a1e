//! A directory of the host that no name leads out of.
//!
//! Every step is one `openat` with `O_NOFOLLOW` from the directory before it, so a symbolic link is never gone through,
//! no matter who made it and how late: one that is put in the way meanwhile makes the step fail.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use super::ArchiveError;

/// What directories are made with that an archive has files in but does not tell of; the caller's mask applies.
const IMPLIED: Mode = Mode::from_bits_truncate(0o777);

/// The directory. Names below it are given in parts, none of which is empty, `.` or `..` or has a slash.
pub(super) struct Directory {
    root: OwnedFd,
    path: PathBuf,
    /// Where the last step led, which is mostly near the next one.
    near: Option<(Vec<Vec<u8>>, OwnedFd)>,
}

impl Directory {
    /// Opens a directory. The user has named it, so links on the way to it are followed.
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(path, flags, Mode::empty());
        let root = root.map_err(|e| ArchiveError::file(path)(e.into()))?;
        Ok(Self { root, path: path.to_owned(), near: None })
    }

    /// The path of what is at `parts`, for messages.
    pub(super) fn path_of(&self, parts: &[&[u8]]) -> PathBuf {
        parts.iter().fold(self.path.clone(), |path, part| path.join(OsStr::from_bytes(part)))
    }

    /// The directory at `parts`, which is made if it is missing.
    pub(super) fn at(&mut self, parts: &[&[u8]]) -> Result<BorrowedFd<'_>, ArchiveError> {
        if parts.is_empty() {
            return Ok(self.root.as_fd());
        }
        let known =
            self.near.as_ref().filter(|(known, _)| starts_with(parts, known)).map(|(known, _)| known.len());
        if known != Some(parts.len()) {
            let found = match (known, &self.near) {
                (Some(depth), Some((_, near))) => self.walk(near.as_fd(), parts, depth)?,
                _ => self.walk(self.root.as_fd(), parts, 0)?,
            };
            self.near = Some((parts.iter().map(|part| part.to_vec()).collect(), found));
        }
        Ok(self.near.as_ref().map_or(self.root.as_fd(), |(_, near)| near.as_fd()))
    }

    /// The same as a descriptor of its own that can be read and changed.
    pub(super) fn open_at(&mut self, parts: &[&[u8]]) -> Result<File, ArchiveError> {
        let path = self.path_of(parts);
        let directory = self.at(parts)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = openat(directory, ".", flags, Mode::empty());
        opened.map(File::from).map_err(|e| ArchiveError::file(&path)(e.into()))
    }

    /// Goes from `start`, which is at the first `depth` of `parts`, to the last.
    fn walk(&self, start: BorrowedFd<'_>, parts: &[&[u8]], depth: usize) -> Result<OwnedFd, ArchiveError> {
        let failed = |depth: usize, e: Errno| {
            let path = self.path_of(&parts[..=depth]);
            let error = match e {
                Errno::ENOTDIR | Errno::ELOOP => io::Error::new(
                    io::ErrorKind::NotADirectory,
                    "it is not a directory, and symbolic links are not followed below the destination",
                ),
                e => e.into(),
            };
            ArchiveError::file(&path)(error)
        };
        let mut at: Option<OwnedFd> = None;
        for (depth, part) in parts.iter().enumerate().skip(depth) {
            let from = at.as_ref().map_or(start, AsFd::as_fd);
            let next = match step(from, part) {
                Err(Errno::ENOENT) => match mkdirat(from, OsStr::from_bytes(part), IMPLIED) {
                    Ok(()) | Err(Errno::EEXIST) => step(from, part),
                    Err(e) => Err(e),
                },
                other => other,
            };
            at = Some(next.map_err(|e| failed(depth, e))?);
        }
        match at {
            Some(found) => Ok(found),
            None => start.try_clone_to_owned().map_err(ArchiveError::file(&self.path)),
        }
    }
}

fn starts_with(parts: &[&[u8]], known: &[Vec<u8>]) -> bool {
    parts.len() >= known.len() && parts.iter().zip(known).all(|(part, known)| part == known)
}

fn step(from: BorrowedFd<'_>, part: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(from, OsStr::from_bytes(part), flags, Mode::empty())
}
