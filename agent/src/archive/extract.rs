//! A tar, unpacked below a directory of the container.
//!
//! Neither the tar nor the directory is trusted: names may lead out, links may lie on the way, and a container may move
//! files meanwhile. The kernel resolves every name beneath the directory. Files are made in the directory that was
//! found, never through a link.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use moat_protocol::tar::{Entry, Kind, Reader};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, ResolveFlag, openat};
use nix::sys::stat::{
    Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

use super::error::{At, Error, shown};
use super::limits::{CHUNK, DEEPEST};
use super::node::names;
use super::stat::is_root;
use crate::container::{MOUNT_POINT, Root, file_type, open_within};
use crate::sys::xattr;

/// How much may follow the end of the archive, in bytes: some programs fill archives up to a tape's block.
const TRAILER: u64 = 1 << 20;

/// How archives are unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether entries keep the owners that the tar names; without it they belong to root.
    pub keep_owner: bool,
    /// Refuse to replace a directory by something else, or something else by a directory.
    pub keep_kind: bool,
}

/// Unpacks `source` below the directory at `path`.
pub fn extract(root: &Root, path: &str, rules: Rules, source: impl Read) -> Result<(), Error> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::look_up(path, Errno::EINVAL));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let directory = root.look_up(Path::new(path), flags).map_err(|error| Error::look_up(path, error))?;
    // In the root an absolute link means what it means to the container. In another directory it leads out.
    let scope = if is_root(path) { ResolveFlag::RESOLVE_IN_ROOT } else { ResolveFlag::RESOLVE_BENEATH };
    let mut target = Target { directory, scope, rules, open: Vec::new() };
    let mut archive = Reader::new(source);
    while let Some(entry) = archive.next_entry()? {
        target.put(&entry, &mut archive)?;
    }
    target.close_all()?;
    archive.drain(TRAILER);
    Ok(())
}

/// Where an archive goes.
struct Target {
    directory: OwnedFd,
    /// What keeps the archive's paths inside the directory.
    scope: ResolveFlag,
    rules: Rules,
    /// The directories of the archive above the current entry. Their times are set once they are complete.
    open: Vec<OpenDirectory>,
}

struct OpenDirectory {
    path: Vec<u8>,
    directory: OwnedFd,
    mtime: TimeSpec,
}

/// A name in a directory that was found.
struct Spot {
    directory: OwnedFd,
    name: CString,
}

impl Target {
    fn put(&mut self, entry: &Entry, contents: &mut impl Read) -> Result<(), Error> {
        let path = normal(&entry.path)?;
        self.close_up_to(&path)?;
        if path.is_empty() {
            // The directory itself.
            return match entry.kind {
                Kind::Directory => {
                    let directory = self.directory.try_clone().at(".")?;
                    self.open_directory(directory, entry, path)
                }
                _ => Err(Error::bad_archive("the archive has an entry without a name")),
            };
        }
        let spot = self.spot(&path)?;
        let make_way = self.make_way(&spot, entry, &path)?;
        if entry.kind == Kind::Directory {
            if make_way {
                mkdirat(&spot.directory, spot.name.as_c_str(), Mode::S_IRWXU).at(&path)?;
            }
            let directory = open_directory(spot.directory.as_fd(), &spot.name).at(&path)?;
            return self.open_directory(directory, entry, path);
        }
        self.make(&spot, entry, &path, contents)
    }

    /// Makes a file that is no directory. Its name must be free.
    fn make(&self, spot: &Spot, entry: &Entry, path: &[u8], contents: &mut impl Read) -> Result<(), Error> {
        let Spot { directory, name } = spot;
        let name = name.as_c_str();
        let device = makedev(entry.device.0.into(), entry.device.1.into());
        let mode = Mode::from_bits_truncate(entry.mode);
        let node = |kind, device| mknodat(directory, name, kind, mode, device).at(path);
        match entry.kind {
            Kind::File => {
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).at(path)?;
                let mut file = BufWriter::with_capacity(CHUNK, File::from(file));
                io::copy(contents, &mut file).map_err(|error| unpacking(path, &error))?;
                let file = file.into_inner().map_err(|error| unpacking(path, error.error()))?;
                return self.finish_open(file.into(), entry, path).map(drop);
            }
            // It is another name of a file whose owner and times have been set.
            Kind::HardLink => return self.link(spot, entry, path),
            Kind::Symlink => symlinkat(OsStr::from_bytes(&entry.link), directory, name).at(path)?,
            Kind::CharDevice => node(SFlag::S_IFCHR, device)?,
            Kind::BlockDevice => node(SFlag::S_IFBLK, device)?,
            Kind::Fifo => node(SFlag::S_IFIFO, 0)?,
            Kind::Directory => {}
        }
        let (uid, gid) = self.owner(entry);
        fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).at(path)?;
        let mtime = time(entry);
        utimensat(directory, name, &mtime, &mtime, UtimensatFlags::NoFollowSymlink).at(path)
    }

    fn link(&self, spot: &Spot, entry: &Entry, path: &[u8]) -> Result<(), Error> {
        let target = normal(&entry.link)?;
        if target.is_empty() {
            return Err(Error::bad_archive(format!("{}: a hard link to nothing", shown(path))));
        }
        let other = self.spot(&target)?;
        let from = (other.directory.as_fd(), other.name.as_c_str());
        match linkat(from.0, from.1, &spot.directory, spot.name.as_c_str(), AtFlags::empty()) {
            Err(Errno::ENOENT | Errno::EPERM) => {
                let target = shown(&target);
                Err(Error::bad_archive(format!(
                    "{}: a hard link to {target}, which is not a file",
                    shown(path)
                )))
            }
            other => other.at(path),
        }
    }

    fn open_directory(&mut self, directory: OwnedFd, entry: &Entry, path: Vec<u8>) -> Result<(), Error> {
        if self.open.len() > DEEPEST {
            return Err(Error::bad_archive(format!("{}: directories are nested too deep", shown(&path))));
        }
        let directory = self.finish_open(directory, entry, &path)?;
        self.open.push(OpenDirectory { path, directory, mtime: time(entry) });
        Ok(())
    }

    /// Sets everything of a regular file or a directory but its contents. The owner comes first: changing it takes away
    /// the set-user-ID bit and the capabilities.
    fn finish_open(&self, file: OwnedFd, entry: &Entry, path: &[u8]) -> Result<OwnedFd, Error> {
        let (uid, gid) = self.owner(entry);
        nix::unistd::fchown(&file, Some(uid), Some(gid)).at(path)?;
        fchmod(&file, Mode::from_bits_truncate(entry.mode)).at(path)?;
        for (name, value) in &entry.xattrs {
            let Ok(name) = CString::new(name.as_slice()) else { continue };
            if name.as_c_str() == MOUNT_POINT {
                continue;
            }
            match xattr::set(&file, &name, value) {
                // The kernel, the file system or this type of file does not have the attribute.
                Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EPERM | Errno::EINVAL) => {}
                Err(error) => return Err(error).at(path),
            }
        }
        let mtime = time(entry);
        futimens(&file, &mtime, &mtime).at(path)?;
        Ok(file)
    }

    fn owner(&self, entry: &Entry) -> (Uid, Gid) {
        let kept = |id| if self.rules.keep_owner { id } else { 0 };
        (Uid::from_raw(kept(entry.uid)), Gid::from_raw(kept(entry.gid)))
    }

    /// Removes what is in the way, and returns whether the name is free.
    fn make_way(&self, spot: &Spot, entry: &Entry, path: &[u8]) -> Result<bool, Error> {
        let found = match fstatat(&spot.directory, spot.name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(true),
            other => other.at(path)?,
        };
        let is_directory = file_type(&found) == SFlag::S_IFDIR;
        let becomes_directory = entry.kind == Kind::Directory;
        if is_directory && becomes_directory {
            return Ok(false);
        }
        if self.rules.keep_kind && is_directory != becomes_directory {
            let (there, here) = if is_directory { ("a directory", "none") } else { ("no directory", "one") };
            let path = shown(path);
            return Err(Error::wrong_kind(format!("{path}: it is {there} and would be replaced by {here}")));
        }
        remove(spot.directory.as_fd(), &spot.name, 0).at(path)?;
        Ok(true)
    }

    /// Finds the directory that a name is in. Missing directories are made.
    fn spot(&self, path: &[u8]) -> Result<Spot, Error> {
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let name = CString::new(name).map_err(|_| Error::bad_archive("a zero byte in a name"))?;
        let directory = match self.look_up(above) {
            Err(Errno::ENOENT) => self.make_directories(above)?,
            other => other.map_err(|error| beneath(above, error))?,
        };
        Ok(Spot { directory, name })
    }

    fn look_up(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        open_within(&self.directory, OsStr::from_bytes(path), flags, self.scope)
    }

    fn make_directories(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut here = self.look_up(b"").at(path)?;
        for end in ends.chain([path.len()]) {
            let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            here = match self.look_up(&path[..end]) {
                Err(Errno::ENOENT) => {
                    let name = OsStr::from_bytes(&path[start..end]);
                    mkdirat(&here, name, Mode::from_bits_truncate(0o755)).at(&path[..end])?;
                    self.look_up(&path[..end]).map_err(|error| beneath(path, error))?
                }
                other => other.map_err(|error| beneath(&path[..end], error))?,
            };
        }
        Ok(here)
    }

    /// Sets the times of the directories that `path` is not below.
    fn close_up_to(&mut self, path: &[u8]) -> Result<(), Error> {
        let is_above = |above: &[u8]| {
            above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        while let Some(last) = self.open.pop_if(|last| !is_above(&last.path)) {
            last.close()?;
        }
        Ok(())
    }

    fn close_all(&mut self) -> Result<(), Error> {
        while let Some(last) = self.open.pop() {
            last.close()?;
        }
        Ok(())
    }
}

impl OpenDirectory {
    fn close(self) -> Result<(), Error> {
        futimens(&self.directory, &self.mtime, &self.mtime).at(self.path)
    }
}

/// A name without `.` and double slashes; empty for the directory itself.
fn normal(path: &[u8]) -> Result<Vec<u8>, Error> {
    let bad = |why| Err(Error::bad_archive(format!("the archive has the name {}, which {why}", shown(path))));
    if path.starts_with(b"/") {
        return bad("is absolute");
    }
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return bad("leads out of the directory");
    }
    Ok(parts.join(&b'/'))
}

/// The error of a directory on the way to a name.
fn beneath(path: &[u8], error: Errno) -> Error {
    match error {
        Errno::EXDEV | Errno::ELOOP => {
            Error::bad_archive(format!("{}: it leads out of the directory", shown(path)))
        }
        Errno::ENOTDIR => Error::wrong_kind(format!("{}: not a directory", shown(path))),
        error => Error::io(format!("{}: {}", shown(path), crate::failure::reason(error))),
    }
}

/// The error of copying contents: writing fails because of the file system, reading because of the archive.
fn unpacking(path: &[u8], error: &io::Error) -> Error {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::UnexpectedEof, _) => Error::bad_archive("the archive is incomplete"),
        (_, Some(code)) => {
            Error::io(format!("{}: {}", shown(path), crate::failure::reason(Errno::from_raw(code))))
        }
        _ => Error::io(format!("{}: {error}", shown(path))),
    }
}

fn open_directory(directory: BorrowedFd<'_>, name: &CString) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name.as_c_str(), flags, Mode::empty())
}

/// Removes a name and what is below it.
fn remove(directory: BorrowedFd<'_>, name: &CString, depth: usize) -> nix::Result<()> {
    match unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) if depth < DEEPEST => {}
        other => return other,
    }
    let below = open_directory(directory, name)?;
    for inner in names(below.as_fd())? {
        remove(below.as_fd(), &inner, depth + 1)?;
    }
    unlinkat(directory, name.as_c_str(), UnlinkatFlags::RemoveDir)
}

fn time(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.mtime.0, entry.mtime.1.into())
}
