//! Files of the host as a tar.
//!
//! Directories are walked by descriptors, and no symbolic link is followed below the path that the user has named: a link
//! that is put there meanwhile does not get other files into the archive.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use moat_protocol::tar::{Entry, Kind, Writer};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, major, minor};

use super::ArchiveError;

/// The deepest directory that is looked into: each level takes a descriptor.
const DEEPEST: usize = 900;

/// Writes a file, or a directory with what is below it, as a tar.
///
/// It is what is called `base` in the directory `parent`, and becomes `name` in the archive. Without a name only what
/// is in it goes there. Sockets are left out, as they mean nothing elsewhere.
///
/// # Errors
/// When a file cannot be read, or `sink` does not take the archive.
pub fn pack(
    parent: &Path,
    base: &OsStr,
    name: Option<&[u8]>,
    sink: &mut impl Write,
) -> Result<(), ArchiveError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = nix::fcntl::open(parent, flags, Mode::empty());
    let directory = directory.map_err(|e| ArchiveError::file(parent)(e.into()))?;
    let mut packer = Packer { tar: Writer::new(sink), links: HashMap::new() };
    let place = Place { directory: directory.as_fd(), name: base, path: parent.join(base), depth: 0 };
    match name {
        Some(name) => packer.send(&place, name)?,
        None => {
            let contents = place.open(OFlag::O_DIRECTORY)?;
            packer.below(&contents, &place.path, b"", 0)?;
        }
    }
    packer.tar.finish().map(drop).map_err(ArchiveError::Stream)
}

/// A name in a directory.
struct Place<'a> {
    directory: BorrowedFd<'a>,
    name: &'a OsStr,
    /// For messages.
    path: PathBuf,
    depth: usize,
}

struct Packer<W> {
    tar: Writer<W>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<W> {
    /// Sends what is at a place, with what is below it. What is gone by now is left out.
    fn send(&mut self, place: &Place<'_>, name: &[u8]) -> Result<(), ArchiveError> {
        let stat = match fstatat(place.directory, place.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) if place.depth > 0 => return Ok(()),
            other => other.map_err(|e| place.failed(e))?,
        };
        let Some(mut entry) = describe(&stat, name) else { return Ok(()) };
        if entry.kind != Kind::Directory && stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    (entry.kind, entry.link) = (Kind::HardLink, first.clone());
                    return self.append(&entry);
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), name.to_vec())),
            }
        }
        match entry.kind {
            Kind::Directory => {
                let directory = place.open(OFlag::O_DIRECTORY)?;
                entry.path.push(b'/');
                self.append(&entry)?;
                self.below(&directory, &place.path, &entry.path, place.depth)
            }
            Kind::Symlink => {
                let target = readlinkat(place.directory, place.name).map_err(|e| place.failed(e))?;
                entry.link = target.into_vec();
                self.append(&entry)
            }
            Kind::File => {
                let file = File::from(place.open(OFlag::empty())?);
                // What is open now is what is sent, also if it is another file than before.
                let stat = fstat(&file).map_err(|e| place.failed(e))?;
                if kind(&stat) != Some(Kind::File) {
                    return Err(place.failed(Errno::ESTALE));
                }
                entry.size = u64::try_from(stat.st_size).unwrap_or_default();
                let mut contents = Noted { reader: file, failure: None };
                let sent = self.tar.append(&entry, &mut contents);
                sent.map_err(|e| match contents.failure {
                    Some(failure) => ArchiveError::file(&place.path)(failure),
                    None => ArchiveError::Stream(e),
                })
            }
            _ => self.append(&entry),
        }
    }

    /// Sends what is in a directory, each name after `prefix`.
    fn below(
        &mut self,
        directory: &OwnedFd,
        path: &Path,
        prefix: &[u8],
        depth: usize,
    ) -> Result<(), ArchiveError> {
        let failed = |e: Errno| ArchiveError::file(path)(e.into());
        if depth > DEEPEST {
            return Err(failed(Errno::ENAMETOOLONG));
        }
        for name in names(directory).map_err(failed)? {
            let place =
                Place { directory: directory.as_fd(), name: &name, path: path.join(&name), depth: depth + 1 };
            self.send(&place, &[prefix, name.as_bytes()].concat())?;
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        self.tar.append(entry, &mut io::empty()).map_err(ArchiveError::Stream)
    }
}

impl Place<'_> {
    /// Opens it for reading, unless it is a symbolic link. That has no side effects on any kind of file.
    fn open(&self, flags: OFlag) -> Result<OwnedFd, ArchiveError> {
        let always = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        openat(self.directory, self.name, OFlag::O_RDONLY | always | flags, Mode::empty())
            .map_err(|e| self.failed(e))
    }

    fn failed(&self, error: Errno) -> ArchiveError {
        ArchiveError::file(&self.path)(error.into())
    }
}

/// Keeps the error of a reader apart from that of the writer that it is copied to.
struct Noted<R> {
    reader: R,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|e| {
            if e.kind() == io::ErrorKind::Interrupted {
                return e;
            }
            self.failure = Some(e);
            io::Error::other("a file cannot be read")
        })
    }
}

fn kind(stat: &FileStat) -> Option<Kind> {
    Some(match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Symlink,
        SFlag::S_IFCHR => Kind::CharDevice,
        SFlag::S_IFBLK => Kind::BlockDevice,
        SFlag::S_IFIFO => Kind::Fifo,
        _ => return None,
    })
}

/// The entry of a file without its contents; nothing for a socket.
fn describe(stat: &FileStat, name: &[u8]) -> Option<Entry> {
    let kind = kind(stat)?;
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => {
            let number = |number: u64| u32::try_from(number).unwrap_or_default();
            (number(major(stat.st_rdev)), number(minor(stat.st_rdev)))
        }
        _ => (0, 0),
    };
    Some(Entry {
        kind,
        path: name.to_vec(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        // Whole seconds, as Docker sends them.
        mtime: (stat.st_mtime, 0),
        device,
        ..Entry::default()
    })
}

/// The names in a directory, in order.
fn names(directory: &OwnedFd) -> nix::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}
