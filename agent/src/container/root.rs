//! Paths inside the container's root. The image decides what they mean: every component may be a symbolic link.
//!
//! None of the functions ever leaves the root, and none follows a link of /proc that stands for an open file
//! (CVE-2024-21626 was a working directory of `/proc/self/fd/7`).

use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};

use crate::sys::xattr;

/// As many links in one path as the kernel itself follows.
const MOST_LINKS: usize = 40;

/// How often the opening of a path is repeated because of a change meanwhile. A container that renames without pause
/// can make many attempts fail, but hardly this many.
const MOST_ATTEMPTS: usize = 1000;

/// The attribute of files and directories that were created here to mount something on them. The container did not make
/// them: `archive::changes` passes over such entries while they are empty.
pub const MOUNT_POINT: &CStr = c"trusted.moat.mount-point";

/// A root directory.
pub struct Root(OwnedFd);

/// Why a file or directory is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Use,
    Mounting,
}

/// What is wanted at the end of a path that may not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A directory.
    Directory,
    /// Something that is not a directory; an empty file is created.
    File,
}

impl Root {
    /// Takes a directory as root.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> nix::Result<Self> {
        open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map(Self)
    }

    /// Opens what is at `path`. With `O_PATH` a fifo or a device is not really opened, and can do no harm.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn look_up(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        open_within(&self.0, path.as_os_str(), flags, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// Opens what is at `path` with `O_PATH`. It is created where it is missing, with the directories above it. A link
    /// that points to nothing is followed: its target is created, inside the root.
    ///
    /// # Errors
    /// ENOTDIR or EISDIR when a file of the wrong type is in the way.
    pub fn ensure(&self, path: &Path, wanted: Wanted) -> nix::Result<OwnedFd> {
        self.ensure_for(Purpose::Use, path, wanted)
    }

    /// As [`Self::ensure`], and what is created is marked as a [`MOUNT_POINT`].
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub fn ensure_mount_point(&self, path: &Path, wanted: Wanted) -> nix::Result<OwnedFd> {
        self.ensure_for(Purpose::Mounting, path, wanted)
    }

    fn ensure_for(&self, purpose: Purpose, path: &Path, wanted: Wanted) -> nix::Result<OwnedFd> {
        match self.look_up(path, OFlag::O_PATH) {
            Ok(found) => fits(&found, wanted).map(|()| found),
            Err(Errno::ENOENT) => self.create(purpose, path, wanted),
            Err(error) => Err(error),
        }
    }

    /// Goes down one component at a time and keeps every directory on the way open, so that `..` needs no look-up.
    fn create(&self, purpose: Purpose, path: &Path, wanted: Wanted) -> nix::Result<OwnedFd> {
        let mut left = VecDeque::new();
        push_front(&mut left, path);
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                way.pop();
                continue;
            }
            let here = way.last().unwrap_or(&self.0).as_fd();
            let last = left.is_empty();
            let found = match open_name(here, &name) {
                Err(Errno::ENOENT) => {
                    create_name(purpose, here, &name, if last { wanted } else { Wanted::Directory })?
                }
                other => other?,
            };
            if file_type(&fstat(&found)?) != SFlag::S_IFLNK {
                fits(&found, if last { wanted } else { Wanted::Directory })?;
                way.push(found);
                continue;
            }
            links += 1;
            if links > MOST_LINKS || is_magic(here, &name) {
                return Err(Errno::ELOOP);
            }
            let target = readlinkat(here, name.as_os_str())?;
            if target.as_bytes().starts_with(b"/") {
                way.clear();
            }
            push_front(&mut left, Path::new(&target));
        }
        let found = match way.pop() {
            Some(found) => found,
            None => self.look_up(Path::new("/"), OFlag::O_PATH)?,
        };
        fits(&found, wanted).map(|()| found)
    }
}

fn push_front(left: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => left.push_front(name.to_owned()),
            Component::ParentDir => left.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

fn open_name(directory: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens a path that `scope`, `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH`, keeps inside `directory`.
///
/// The kernel gives up a path with `..` with EAGAIN when a file of the machine was renamed or mounted meanwhile: it can
/// no longer tell whether the path leads inside.
///
/// # Errors
/// Those of openat2(2); EAGAIN only when each of `MOST_ATTEMPTS` attempts met such a change.
pub fn open_within(
    directory: impl AsFd,
    path: &OsStr,
    flags: OFlag,
    scope: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let resolve = scope | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    (1..MOST_ATTEMPTS)
        .map(|_| openat2(&directory, path, how))
        .find(|opened| !matches!(opened, Err(Errno::EAGAIN)))
        .unwrap_or_else(|| openat2(&directory, path, how))
}

/// Whether a link is one of /proc that stands for an open file. Other errors of the link show when it is followed.
fn is_magic(directory: BorrowedFd<'_>, name: &OsStr) -> bool {
    matches!(open_within(directory, name, OFlag::O_PATH, ResolveFlag::RESOLVE_BENEATH), Err(Errno::ELOOP))
}

fn create_name(
    purpose: Purpose,
    directory: BorrowedFd<'_>,
    name: &OsStr,
    wanted: Wanted,
) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let created = match wanted {
        Wanted::Directory => {
            mkdirat(directory, name, Mode::from_bits_retain(0o755))?;
            openat(directory, name, flags | OFlag::O_DIRECTORY, Mode::empty())?
        }
        Wanted::File => {
            let flags = flags | OFlag::O_CREAT | OFlag::O_EXCL;
            openat(directory, name, flags, Mode::from_bits_retain(0o644))?
        }
    };
    if purpose == Purpose::Mounting {
        // On a file system that cannot keep the mark it is not needed: changes are read from the overlay alone.
        let _ = xattr::set(&created, MOUNT_POINT, b"");
    }
    open_name(directory, name)
}

fn fits(found: &OwnedFd, wanted: Wanted) -> nix::Result<()> {
    match (file_type(&fstat(found)?) == SFlag::S_IFDIR, wanted) {
        (false, Wanted::Directory) => Err(Errno::ENOTDIR),
        (true, Wanted::File) => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

/// The type of a file.
pub fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// A root inside a directory whose other content must never be touched.
    fn root() -> (tempfile::TempDir, Root) {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("root")).unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        let root = Root::open(&outside.path().join("root")).unwrap();
        (outside, root)
    }

    fn outside_is_untouched(outside: &tempfile::TempDir) {
        let mut names: Vec<_> =
            fs::read_dir(outside.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["root", "secret"]);
    }

    fn inode(fd: impl std::os::fd::AsFd) -> u64 {
        fstat(fd).unwrap().st_ino
    }

    fn inode_of(path: &Path) -> u64 {
        inode(open(path, OFlag::O_PATH, Mode::empty()).unwrap())
    }

    #[test]
    fn missing_directories_and_files_are_created() {
        let (outside, root) = root();
        root.ensure(Path::new("/a/b/c"), Wanted::Directory).unwrap();
        root.ensure(Path::new("/a/b/f"), Wanted::File).unwrap();
        assert!(outside.path().join("root/a/b/c").is_dir());
        assert!(outside.path().join("root/a/b/f").is_file());
        assert_eq!(inode(root.ensure(Path::new("/"), Wanted::Directory).unwrap()), inode(&root.0));
    }

    #[test]
    fn links_stay_inside_the_root() {
        for target in ["../../../..", "/../..", "../../../../secret/x", "/secret", "..", "./../../."] {
            let (outside, root) = root();
            symlink(target, outside.path().join("root/link")).unwrap();
            let found = root.ensure(Path::new("/link/made"), Wanted::Directory).unwrap();
            let inside = ["root/made", "root/secret/made", "root/secret/x/made"]
                .map(|path| outside.path().join(path))
                .into_iter()
                .find(|path| path.is_dir());
            assert_eq!(inode(found), inode_of(&inside.unwrap()), "{target}");
            outside_is_untouched(&outside);
        }
    }

    #[test]
    fn a_link_to_nothing_is_followed_and_filled() {
        let (outside, root) = root();
        fs::create_dir(outside.path().join("root/etc")).unwrap();
        symlink("../run/systemd/resolve/stub.conf", outside.path().join("root/etc/resolv.conf")).unwrap();
        let found = root.ensure(Path::new("/etc/resolv.conf"), Wanted::File).unwrap();
        assert_eq!(inode(found), inode_of(&outside.path().join("root/run/systemd/resolve/stub.conf")));
    }

    #[test]
    fn paths_are_found_while_others_rename() {
        let (outside, root) = root();
        fs::create_dir(outside.path().join("root/a")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let names = ["one", "other"].map(|name| elsewhere.path().join(name));
        fs::write(&names[0], "").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (from, to) in [(0, 1), (1, 0)].into_iter().cycle() {
                    fs::rename(&names[from], &names[to]).unwrap();
                    if done.load(Relaxed) {
                        break;
                    }
                }
            });
            let lost = (0..10_000)
                .filter(|_| root.look_up(Path::new("/a/../a/../a/../a"), OFlag::O_PATH).is_err())
                .count();
            done.store(true, Relaxed);
            assert_eq!(lost, 0);
        });
    }

    #[test]
    fn loops_and_wrong_types_are_errors() {
        let (outside, root) = root();
        symlink("b", outside.path().join("root/a")).unwrap();
        symlink("a", outside.path().join("root/b")).unwrap();
        fs::write(outside.path().join("root/file"), "").unwrap();
        let ensure = |path: &str, wanted| root.ensure(Path::new(path), wanted).map(drop);
        assert_eq!(ensure("/a/x", Wanted::Directory), Err(Errno::ELOOP));
        assert_eq!(ensure("/file", Wanted::Directory), Err(Errno::ENOTDIR));
        assert_eq!(ensure("/file/x", Wanted::Directory), Err(Errno::ENOTDIR));
        assert_eq!(ensure("/", Wanted::File), Err(Errno::EISDIR));
        assert_eq!(ensure("/new/..", Wanted::File), Err(Errno::EISDIR));
    }

    #[test]
    fn links_of_proc_are_not_followed() {
        let (outside, _) = root();
        let secret = fs::File::open(outside.path()).unwrap();
        let machine = Root::open(Path::new("/")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&secret);
        let path = format!("/proc/self/fd/{number}/made");
        assert_eq!(machine.look_up(Path::new(&path), OFlag::O_PATH).map(drop), Err(Errno::ELOOP));
        assert_eq!(machine.ensure(Path::new(&path), Wanted::Directory).map(drop), Err(Errno::ELOOP));
        outside_is_untouched(&outside);
    }
}
