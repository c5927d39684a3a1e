//! A file of the container as an entry of an archive.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use moat_protocol::tar::{Entry, Kind, Writer};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, major, minor};

use super::error::{At, Error};
use crate::container::{MOUNT_POINT, file_type};
use crate::sys::xattr;

/// What the attributes of the overlay itself start with.
const OVERLAY: &[u8] = b"trusted.overlay.";

/// A file as it was found.
pub struct Node {
    /// What it is.
    pub stat: FileStat,
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// An open regular file or directory.
    pub open: Option<File>,
}

impl Node {
    /// Finds a name in a directory, without following a link; nothing where it is gone. Only regular files and
    /// directories are opened, because opening them has no side effects.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn find(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<Option<Self>> {
        match Self::open(directory, name) {
            Ok(node) => Ok(Some(node)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<Self> {
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match file_type(&stat) {
            SFlag::S_IFREG | SFlag::S_IFDIR => {
                Self::of_open(openat(directory, name, flags, Mode::empty())?, &stat)
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(directory, name)?.as_bytes().to_vec();
                Ok(Self { stat, target, open: None })
            }
            _ => Ok(Self { stat, target: Vec::new(), open: None }),
        }
    }

    /// Takes a file that was opened where `expected` was found before.
    ///
    /// # Errors
    /// ESTALE when a file of another type has been put there meanwhile.
    pub fn of_open(open: OwnedFd, expected: &FileStat) -> nix::Result<Self> {
        let stat = fstat(&open)?;
        if file_type(&stat) != file_type(expected) {
            return Err(Errno::ESTALE);
        }
        Ok(Self { stat, target: Vec::new(), open: Some(open.into()) })
    }

    /// Its type.
    pub fn kind(&self) -> SFlag {
        file_type(&self.stat)
    }

    /// The open directory, if it is one.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().filter(|_| self.kind() == SFlag::S_IFDIR).map(AsFd::as_fd)
    }

    /// Its attributes, by name, without those of the overlay and of the agent. Only regular files and directories have
    /// attributes that a program could have set.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn xattrs(&self) -> nix::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(open) = &self.open else { return Ok(Vec::new()) };
        let mut names = xattr::list(open)?;
        names.retain(|name| !name.to_bytes().starts_with(OVERLAY) && name.as_c_str() != MOUNT_POINT);
        names.sort_unstable();
        let mut found = Vec::new();
        for name in names {
            // It may be gone by now.
            if let Some(value) = xattr::get(open, &name)? {
                found.push((name.into_bytes(), value));
            }
        }
        Ok(found)
    }
}

/// The names in a directory, in order.
///
/// # Errors
/// Those of the file system.
pub fn names(directory: BorrowedFd<'_>) -> nix::Result<Vec<CString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Sends files as the entries of an archive.
pub struct Sender<W> {
    tar: Writer<W>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Sender<W> {
    /// Sends to `sink`.
    pub fn new(sink: W) -> Self {
        Self { tar: Writer::new(sink), links: HashMap::new() }
    }

    /// Sends a file under a name. Of a directory it sends only the directory itself. Sockets are left out: they mean
    /// nothing outside of the guest.
    ///
    /// # Errors
    /// When the file cannot be read, or the sink fails.
    pub fn send(&mut self, node: &Node, path: &[u8]) -> Result<(), Error> {
        let stat = &node.stat;
        let mut entry = Entry {
            path: path.to_vec(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            ..Entry::default()
        };
        entry.kind = match node.kind() {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Symlink,
            SFlag::S_IFCHR => Kind::CharDevice,
            SFlag::S_IFBLK => Kind::BlockDevice,
            SFlag::S_IFIFO => Kind::Fifo,
            _ => return Ok(()),
        };
        match entry.kind {
            Kind::Directory => entry.path.push(b'/'),
            Kind::CharDevice | Kind::BlockDevice => {
                entry.device = (major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32);
            }
            _ => {}
        }
        if entry.kind != Kind::Directory && stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    (entry.kind, entry.link) = (Kind::HardLink, first.clone());
                    return self.append(&entry, &mut io::empty());
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), path.to_vec())),
            }
        }
        entry.xattrs = node.xattrs().at(path)?;
        entry.link.clone_from(&node.target);
        let Some(mut contents) = node.open.as_ref().filter(|_| entry.kind == Kind::File) else {
            return self.append(&entry, &mut io::empty());
        };
        entry.size = u64::try_from(stat.st_size).unwrap_or_default();
        self.append(&entry, &mut contents)
    }

    /// Sends an entry as it is.
    ///
    /// # Errors
    /// When the contents cannot be read, or the sink fails.
    pub fn append(&mut self, entry: &Entry, contents: &mut dyn io::Read) -> Result<(), Error> {
        self.tar.append(entry, contents).at(&entry.path)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(self) -> Result<(), Error> {
        self.tar.finish().map(drop).at("cannot end the archive")
    }
}
