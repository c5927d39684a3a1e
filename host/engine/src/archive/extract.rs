//! Files out of a tar that a hostile guest may have made.
//!
//! - Nothing is written outside the destination: names with `..` and absolute names end the extraction, and no symbolic
//!   link is followed below it ([`super::directory`]). Symbolic links of the archive are made as they are, as Docker
//!   does; programs that open them later should know where they come from.
//! - What is there is removed before something takes its place, so nothing is written through a link of any kind. A
//!   directory is never replaced by anything else, nor anything else by a directory.
//! - Devices end the extraction. Set-user-ID and set-group-ID bits are dropped: a program of the guest's with the rights of
//!   root would be there for every user of the host. Everything belongs to the caller, unless the caller wants the owners
//!   kept.
//! - Memory is bounded: an entry's names and attributes are ([`moat_protocol::tar`]), and of the directories only those
//!   that the current entry is in are remembered. Disk space is what the archive's bytes take; runs of zeros become holes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use moat_protocol::tar::{Entry, Kind, Reader, TarError};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{
    Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fchownat, linkat, mkfifoat, symlinkat, unlinkat,
};

use super::directory::Directory;
use super::{ArchiveError, Rename};

/// How much is read at once, in bytes.
const CHUNK: usize = 128 << 10;

/// The piece of a file that becomes a hole if it is all zeros, in bytes: the block size of every common file system.
const BLOCK: usize = 4096;

/// What is read after the end of an archive, in bytes: the sender may pad it as `tar` does.
const MAX_PADDING: u64 = 1 << 20;

/// Extracts a tar below the directory `destination`; `rename` says what names its entries get. With `owners` they keep the
/// owners that the tar names.
///
/// # Errors
/// When the archive is damaged, has an entry that is refused, or a file cannot be written. What was extracted by then
/// stays.
pub fn extract(
    source: impl Read,
    destination: &Path,
    rename: &Rename,
    owners: bool,
) -> Result<(), ArchiveError> {
    let mut extraction = Extraction {
        directory: Directory::open(destination)?,
        owners,
        path: Vec::new(),
        unfinished: Vec::new(),
        buffer: vec![0; CHUNK],
    };
    let mut reader = Reader::new(source);
    while let Some(entry) = reader.next_entry()? {
        extraction.entry(&entry, rename, &mut reader)?;
    }
    extraction.leave(&[])?;
    reader.drain(MAX_PADDING);
    Ok(())
}

struct Extraction {
    directory: Directory,
    owners: bool,
    /// The way to the last directory.
    path: Vec<Vec<u8>>,
    /// How many parts of that way lead to each directory that the current entry is in, outermost first. They get their
    /// permissions and times when nothing more is written into them.
    unfinished: Vec<(usize, Metadata)>,
    buffer: Vec<u8>,
}

/// What is said about a file besides its contents.
#[derive(Clone, Copy)]
struct Metadata {
    mode: Mode,
    owner: Option<(Uid, Gid)>,
    mtime: TimeSpec,
}

impl Extraction {
    fn entry(
        &mut self,
        entry: &Entry,
        rename: &Rename,
        contents: &mut impl Read,
    ) -> Result<(), ArchiveError> {
        let parts = rename.apply(&entry.path)?;
        self.leave(&parts)?;
        let refused = |reason: &str| Err(ArchiveError::entry(&entry.path, reason));
        let Some((name, parent)) = parts.split_last() else {
            // The destination itself is as the user has it.
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => refused("the destination is a directory, which nothing else replaces"),
            };
        };
        let metadata = self.metadata(entry);
        let path = self.directory.path_of(&parts);
        let failed = |e: Errno| ArchiveError::file(&path)(e.into());
        let name = OsStr::from_bytes(name);
        if entry.kind == Kind::Directory {
            make_directory(self.directory.at(parent)?, name, &path)?;
            self.path = parts.iter().map(|part| part.to_vec()).collect();
            self.unfinished.push((parts.len(), metadata));
            return Ok(());
        }
        if let Kind::CharDevice | Kind::BlockDevice = entry.kind {
            return refused(
                "it is a device, which Moat does not make on the host; with '-' as the destination it stays in the archive",
            );
        }
        if entry.kind == Kind::HardLink {
            return self.hard_link(entry, &rename.apply(&entry.link)?, &parts);
        }
        let Self { directory, buffer, .. } = self;
        let directory = directory.at(parent)?;
        clear(directory, name, &path)?;
        match entry.kind {
            Kind::Symlink => {
                symlinkat(OsStr::from_bytes(&entry.link), directory, name).map_err(failed)?;
                metadata.apply_to_name(directory, name).map_err(failed)
            }
            Kind::Fifo => {
                // The caller's mask applies: to change the mode by name could change something else by now.
                mkfifoat(directory, name, metadata.mode).map_err(failed)?;
                metadata.apply_to_name(directory, name).map_err(failed)
            }
            _ => {
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
                let file = File::from(file);
                let written = write(&file, &path, entry.size, contents, buffer)
                    .and_then(|()| metadata.apply(&file).map_err(failed));
                if written.is_err() {
                    // Half a file is worse than none. The error that matters is the first.
                    let _ = unlinkat(directory, name, UnlinkatFlags::NoRemoveDir);
                }
                written
            }
        }
    }

    fn hard_link(&mut self, entry: &Entry, target: &[&[u8]], parts: &[&[u8]]) -> Result<(), ArchiveError> {
        let refused = |reason: String| Err(ArchiveError::entry(&entry.path, reason));
        let Some(((name, parent), (target_name, target_parent))) =
            parts.split_last().zip(target.split_last())
        else {
            return refused("it is a link to a directory".to_owned());
        };
        if target == parts {
            return refused("it is a link to itself".to_owned());
        }
        let from = self.directory.at(target_parent)?.try_clone_to_owned();
        let from = from.map_err(ArchiveError::file(&self.directory.path_of(target_parent)))?;
        let path = self.directory.path_of(parts);
        let (target_name, name) = (OsStr::from_bytes(target_name), OsStr::from_bytes(name));
        let directory = self.directory.at(parent)?;
        clear(directory, name, &path)?;
        match linkat(&from, target_name, directory, name, LinkatFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => {
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                refused(format!("it is a link to {}, which is not there", super::shown(&target)))
            }
            Err(e) => Err(ArchiveError::file(&path)(e.into())),
        }
    }

    /// Finishes the directories that `parts` is not in.
    fn leave(&mut self, parts: &[&[u8]]) -> Result<(), ArchiveError> {
        let common = self.path.iter().zip(parts).take_while(|(a, b)| a == b).count();
        let holds = |depth: usize| depth <= common && depth < parts.len();
        while let Some((depth, metadata)) = self.unfinished.pop_if(|(depth, _)| !holds(*depth)) {
            let directory: Vec<&[u8]> = self.path[..depth].iter().map(Vec::as_slice).collect();
            let open = self.directory.open_at(&directory)?;
            let failed = |e: Errno| ArchiveError::file(&self.directory.path_of(&directory))(e.into());
            metadata.apply(&open).map_err(failed)?;
        }
        Ok(())
    }

    fn metadata(&self, entry: &Entry) -> Metadata {
        Metadata {
            mode: Mode::from_bits_truncate(entry.mode & 0o1777),
            owner: self.owners.then(|| (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid))),
            mtime: TimeSpec::new(entry.mtime.0, entry.mtime.1.into()),
        }
    }
}

impl Metadata {
    fn apply(&self, file: &File) -> nix::Result<()> {
        // A new owner takes the special bits away, so the mode comes after.
        if let Some((uid, gid)) = self.owner {
            fchown(file, Some(uid), Some(gid))?;
        }
        fchmod(file, self.mode)?;
        futimens(file, &self.mtime, &self.mtime)
    }

    /// For what cannot be opened: its owner and its time, and of the link itself.
    fn apply_to_name(&self, directory: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
        if let Some((uid, gid)) = self.owner {
            fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        utimensat(directory, name, &self.mtime, &self.mtime, UtimensatFlags::NoFollowSymlink)
    }
}

/// Makes a directory, or finds it there. Only its owner can look into it until it is finished.
fn make_directory(parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), ArchiveError> {
    match mkdirat(parent, name, Mode::S_IRWXU) {
        Ok(()) => return Ok(()),
        Err(Errno::EEXIST) => {}
        Err(e) => return Err(ArchiveError::file(path)(e.into())),
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            let path = path.display();
            Err(ArchiveError::Rules(format!("cannot overwrite non-directory \"{path}\" with a directory")))
        }
        Err(e) => Err(ArchiveError::file(path)(e.into())),
    }
}

/// Makes room for something that is no directory.
fn clear(parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), ArchiveError> {
    match unlinkat(parent.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => {
            let path = path.display();
            Err(ArchiveError::Rules(format!("cannot overwrite directory \"{path}\" with a non-directory")))
        }
        Err(e) => Err(ArchiveError::file(path)(e.into())),
    }
}

fn write(
    file: &File,
    path: &Path,
    size: u64,
    contents: &mut impl Read,
    buffer: &mut [u8],
) -> Result<(), ArchiveError> {
    let mut offset = 0;
    while offset < size {
        let most = usize::try_from(size - offset).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let bytes = &mut buffer[..most];
        contents.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Incomplete.into(),
            _ => ArchiveError::Stream(e),
        })?;
        write_data(file, bytes, offset).map_err(ArchiveError::file(path))?;
        offset += most as u64;
    }
    // Zeros at the end are there as well.
    file.set_len(size).map_err(ArchiveError::file(path))
}

/// Writes what is not zero.
fn write_data(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let is_zero = |piece: &[u8]| piece.iter().all(|&byte| byte == 0);
    let pieces: Vec<&[u8]> = bytes.chunks(BLOCK).collect();
    let mut at = 0;
    for run in pieces.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let length: usize = run.iter().map(|piece| piece.len()).sum();
        if !run.first().is_some_and(|piece| is_zero(piece)) {
            file.write_all_at(&bytes[at..at + length], offset + at as u64)?;
        }
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
