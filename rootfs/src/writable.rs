//! The writable disk of a container: a sparse ext4 file system, made once as a template and copied for each container.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, copy_file_range, renameat2};
use nix::unistd::{Whence, lseek};

/// Size of the writable disk unless asked otherwise. It is sparse: what counts on the host is what the container wrote. The
/// kernel reads 32 bytes per 128 MiB of it when it mounts.
pub const DEFAULT_SIZE: u64 = 20 << 30;

/// Below this there is no room for the journal.
pub const MIN_SIZE: u64 = 64 << 20;

/// Changes whenever templates made by this version differ from those before: part of the key under which one is kept.
pub const TEMPLATE_VERSION: u32 = 1;

/// Every template is the same file system; containers never see each other's.
const UUID: &str = "6d6f6174-0000-8000-8000-000000000001";

/// Features by name, so that the host's `mke2fs.conf` has no say. Not in the list: `resize_inode` (reserves blocks for
/// growing, which Moat does not do), `64bit` (doubles the descriptors that every mount reads, for sizes beyond 16 TiB),
/// `orphan_file`.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,\
                        dir_nlink,extra_isize,metadata_csum";

/// What `mkfs.ext4` gets beside features and size, with the reason for each.
const OPTIONS: &[&str] = &[
    "-q", // nothing but errors
    "-F", // the target is a file, do not ask
    "-b",
    "4096", // the page size of the guest
    "-I",
    "256", // room for nanoseconds and small attributes in the inode
    "-i",
    "16384", // bytes per inode, as is usual; the default without a configuration is half, for twice the tables
    "-m",
    "0", // nothing reserved for root, which most containers' processes are
    "-J",
    "size=8", // after long use all of the journal is on the host; the default would be 128 MiB
    "-U",
    UUID,
    "-E",
    // Metadata at the start, where few reads find it, with hashes that are always the same. The inode tables are
    // holes and known to be zero (`discard`, which is the default), so no kernel thread clears them in the guest.
    "lazy_itable_init=1,lazy_journal_init=1,discard,packed_meta_blocks=1,root_owner=0:0,\
     hash_seed=6d6f6174-0000-8000-8000-000000000002",
];

/// Why there is no writable disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not on this machine.
    #[error("mkfs.ext4 is missing; install the package e2fsprogs")]
    NoMkfs,
    /// The program failed.
    #[error("mkfs.ext4 could not make {path} ({status}): {message}")]
    Mkfs {
        /// The file it was to make.
        path: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        message: String,
    },
    /// The size cannot be used.
    #[error(
        "a writable disk of {0} bytes is not possible: it must be a multiple of 4096 and at least {MIN_SIZE}"
    )]
    Size(u64),
    /// There is a disk already; it is never replaced.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// A file operation failed.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

/// Makes a template at `path`: an empty ext4 of `size` bytes. The same size gives the same bytes, and the file appears whole
/// or not at all. A template that is there already is replaced, which does no harm to its copies. The caller sees to it that
/// no other process makes the same one meanwhile: what a process left that was killed at it is removed.
///
/// # Errors
/// If `mkfs.ext4` (e2fsprogs) is missing or fails, or the file cannot be written.
pub fn make_template(path: &Path, size: u64) -> Result<(), Error> {
    if size < MIN_SIZE || !size.is_multiple_of(4096) {
        return Err(Error::Size(size));
    }
    Unfinished::remove_all(path)?;
    let unfinished = Unfinished::create(path)?;
    unfinished.file.set_len(size).map_err(Error::file("sizing", &unfinished.path))?;
    mkfs(&unfinished.path, path)?;
    unfinished.file.sync_all().map_err(Error::file("syncing", &unfinished.path))?;
    fs::rename(&unfinished.path, path).map_err(Error::file("renaming to", path))
}

fn mkfs(file: &Path, shown: &Path) -> Result<(), Error> {
    let mut command = Command::new("mkfs.ext4");
    // No configuration of the host, and one time for all: what e2fsprogs calls it before 1.47.1 and since.
    command.env("MKE2FS_CONFIG", "/dev/null").env("E2FSPROGS_FAKE_TIME", "1").env("SOURCE_DATE_EPOCH", "1");
    command.env("LC_ALL", "C").env("PATH", path_with_sbin());
    command.args(OPTIONS).args(["-O", FEATURES]).arg(file);
    let output = command.output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoMkfs,
        _ => Error::File { action: "running mkfs.ext4 for", path: shown.to_owned(), source },
    })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Mkfs { path: shown.to_owned(), status: output.status, message })
}

/// Administration programs are not on the path of ordinary users everywhere.
fn path_with_sbin() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// Copies a template to `target` with mode 0600, in milliseconds: only the data is copied, and where the file system can
/// share blocks between files not even that. The file appears whole or not at all, and never in place of another.
///
/// # Errors
/// [`Error::Exists`] if `target` exists, or what failed with which file.
pub fn create_from_template(template: &Path, target: &Path) -> Result<(), Error> {
    let mut from = File::open(template).map_err(Error::file("opening", template))?;
    let unfinished = Unfinished::create(target)?;
    let mut to = &unfinished.file;
    copy_data(&mut from, &mut to).map_err(Error::file("copying the template to", &unfinished.path))?;
    // The record of the container that follows is durable, so its disk has to be.
    to.sync_data().map_err(Error::file("syncing", &unfinished.path))?;
    let cwd = nix::fcntl::AT_FDCWD;
    match renameat2(cwd, &unfinished.path, cwd, target, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) => Err(Error::Exists(target.to_owned())),
        Err(errno) => Err(Error::file("renaming to", target)(errno.into())),
    }
}

/// Copies what is data and leaves holes where holes are.
fn copy_data(from: &mut File, to: &mut &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let end = i64::try_from(length).map_err(io::Error::other)?;
    let mut position = 0;
    while position < end {
        let start = match lseek(&*from, position, Whence::SeekData) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let stop = lseek(&*from, start, Whence::SeekHole)?;
        copy_range(from, to, start, stop)?;
        position = stop;
    }
    Ok(())
}

fn copy_range(from: &mut File, to: &mut &File, start: i64, stop: i64) -> io::Result<()> {
    let (mut input, mut output) = (start, start);
    while input < stop {
        let left = usize::try_from(stop - input).map_err(io::Error::other)?;
        match copy_file_range(&*from, Some(&mut input), *to, Some(&mut output), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            // Between file systems, or on one that cannot.
            Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                return copy_by_hand(from, to, input, stop);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &mut File, to: &mut &File, start: i64, stop: i64) -> io::Result<()> {
    let (start, length) = (start.cast_unsigned(), (stop - start).cast_unsigned());
    from.seek(SeekFrom::Start(start))?;
    to.seek(SeekFrom::Start(start))?;
    let copied = io::copy(&mut from.take(length), to)?;
    if copied < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { to.flush() }
}

/// A file under another name until it is complete; removed if it never is.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    /// How the names of all for `target` begin and end.
    fn affixes(target: &Path) -> (std::ffi::OsString, &'static str) {
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(target.file_name().unwrap_or_default());
        prefix.push(".");
        (prefix, ".tmp")
    }

    fn create(target: &Path) -> Result<Self, Error> {
        let (mut name, suffix) = Self::affixes(target);
        name.push(format!("{}.{:?}{suffix}", std::process::id(), std::thread::current().id()));
        let path = target.with_file_name(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(Error::file("creating", &path))?;
        Ok(Self { path, file })
    }

    fn remove_all(target: &Path) -> Result<(), Error> {
        let (prefix, suffix) = Self::affixes(target);
        let directory = target.with_file_name(".");
        for entry in fs::read_dir(&directory).map_err(Error::file("listing", &directory))?.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.as_encoded_bytes();
            if name.starts_with(prefix.as_encoded_bytes()) && name.ends_with(suffix.as_bytes()) {
                fs::remove_file(&path).map_err(Error::file("removing", &path))?;
            }
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a successful rename there is nothing of this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_template_is_small_and_always_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        // What a process left that was killed at it.
        fs::write(directory.path().join(".a.4711.ThreadId(1).tmp"), "half").unwrap();
        make_template(&first, DEFAULT_SIZE).unwrap();
        make_template(&second, DEFAULT_SIZE).unwrap();
        let metadata = first.metadata().unwrap();
        assert_eq!(metadata.len(), DEFAULT_SIZE);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.blocks() * 512 < 2 << 20, "{} bytes on disk", metadata.blocks() * 512);
        let head = |path: &Path| {
            let mut bytes = vec![0; 16 << 20];
            File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(head(&first) == head(&second));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn copies_are_sparse_and_never_replace() {
        let directory = tempfile::tempdir().unwrap();
        let (template, target) = (directory.path().join("template"), directory.path().join("disk"));
        let file = File::create(&template).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"middle", 500 << 20).unwrap();
        create_from_template(&template, &target).unwrap();
        let copy = File::open(&target).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 1 << 30);
        assert!(copy.metadata().unwrap().blocks() * 512 < 1 << 20);
        assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut bytes = [0; 6];
        copy.read_exact_at(&mut bytes, 500 << 20).unwrap();
        assert_eq!(&bytes, b"middle");
        assert!(matches!(create_from_template(&template, &target), Err(Error::Exists(_))));
        assert!(matches!(
            create_from_template(&directory.path().join("none"), &target),
            Err(Error::File { .. })
        ));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn odd_sizes_and_failures_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        assert!(matches!(make_template(&path, 5 << 20), Err(Error::Size(_))));
        assert!(matches!(make_template(&path, MIN_SIZE + 1), Err(Error::Size(_))));
        assert!(matches!(mkfs(&directory.path().join("missing/x"), &path), Err(Error::Mkfs { .. })));
    }

    #[test]
    fn copying_by_hand_gives_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&from, b"0123456789").unwrap();
        let mut source = File::open(&from).unwrap();
        let target = File::create(&to).unwrap();
        copy_by_hand(&mut source, &mut &target, 2, 7).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"\0\x0023456");
        assert!(copy_by_hand(&mut source, &mut &target, 5, 20).is_err());
    }
}
