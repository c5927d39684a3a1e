//! The container's mounts: file systems, files over files, hidden and read-only paths.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use moat_protocol::guest::Mount;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::devices::{self, Devices, Node};
use super::options::{self, OptionError, Options};
use super::root::{Root, Wanted, file_type};
use crate::failure::Failure;
use crate::failure::{Context, reason};
use crate::sys::mount::{NewFilesystem, attach, attr, clone_tree, set_attributes};

/// The file systems that a container can ask for. All of them are made of the guest's memory: none has a source.
const KINDS: [&str; 6] = ["proc", "sysfs", "devpts", "mqueue", "cgroup2", "tmpfs"];

/// Why a file system cannot be mounted.
#[derive(Debug, thiserror::Error)]
enum MountError {
    #[error("the file system must be one of {}", KINDS.join(", "))]
    Kind,
    #[error("the destination must be an absolute path")]
    Destination,
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("a zero byte in the {0}")]
    ZeroByte(&'static str),
    /// The reason that the file system itself gives, which says more than the number.
    #[error("{0}")]
    Filesystem(String),
    #[error("the image has something else than a directory there")]
    NotADirectory,
    #[error("{}", reason(*.0))]
    Kernel(#[from] Errno),
}

/// Mounts everything that the specification asks for, in order, and returns the devices of /dev, `more` among them.
pub fn mount_all(root: &Root, mounts: &[Mount], more: &[Node]) -> Result<Option<Devices>, Failure> {
    let mut found = None;
    for mount in mounts {
        let made = mount_one(root, mount).map_err(|error| {
            let Mount { destination, kind, .. } = mount;
            Failure::setup(format!("cannot mount {kind} at {destination}: {error}"))
        })?;
        // It is filled at once, because the next mounts may be below it.
        if mount.kind == "tmpfs" && Path::new(&mount.destination) == Path::new("/dev") {
            found = Some(devices::populate(made, more).context("cannot fill /dev")?);
        }
    }
    Ok(found)
}

fn mount_one(root: &Root, mount: &Mount) -> Result<OwnedFd, MountError> {
    let Mount { destination, kind, source, options } = mount;
    if !KINDS.contains(&kind.as_str()) {
        return Err(MountError::Kind);
    }
    if !destination.starts_with('/') {
        return Err(MountError::Destination);
    }
    let made = make(kind, source.as_deref(), &options::parse(options)?)?;
    attach(made.as_fd(), mount_point(root, mount)?.as_fd())?;
    Ok(made)
}

/// Makes a file system that is not attached anywhere yet.
fn make(kind: &str, source: Option<&str>, options: &Options) -> Result<OwnedFd, MountError> {
    let kind = CString::new(kind).map_err(|_| MountError::ZeroByte("type"))?;
    let filesystem = NewFilesystem::open(&kind)?;
    let why = |error| filesystem.complaint().map_or(MountError::Kernel(error), MountError::Filesystem);
    if let Some(source) = source {
        let source = CString::new(source).map_err(|_| MountError::ZeroByte("source"))?;
        filesystem.set(c"source", Some(&source)).map_err(why)?;
    }
    for (key, value) in &options.filesystem {
        filesystem.set(key, value.as_deref()).map_err(why)?;
    }
    filesystem.mount(options.attributes).map_err(why)
}

/// Opens the directory to mount on. /proc and /sys are where their paths say: what the container trusts in them must
/// not lie where a link of the image put it.
fn mount_point(root: &Root, mount: &Mount) -> Result<OwnedFd, MountError> {
    let path = Path::new(&mount.destination);
    if matches!(mount.kind.as_str(), "proc" | "sysfs") {
        match root.look_up(path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(found) if file_type(&fstat(&found)?) != SFlag::S_IFDIR => {
                return Err(MountError::NotADirectory);
            }
            _ => {}
        }
    }
    Ok(root.ensure_mount_point(path, Wanted::Directory)?)
}

/// Mounts a file, prepared by [`clone_tree`], over the one at `path`.
pub fn mount_file(root: &Root, path: &str, file: &OwnedFd, read_only: bool) -> Result<(), Failure> {
    let mounted = root.ensure_mount_point(Path::new(path), Wanted::File).and_then(|target| {
        if read_only {
            set_attributes(file.as_fd(), attr::RDONLY)?;
        }
        attach(file.as_fd(), target.as_fd())
    });
    mounted.context(&format!("cannot mount a file at {path}"))
}

/// Hides paths: a file behind /dev/null, a directory behind an empty one.
pub fn mask(root: &Root, paths: &[String], devices: Option<&Devices>) -> Result<(), Failure> {
    for path in paths {
        hide(root, path, devices).context(&format!("cannot hide {path}"))?;
    }
    Ok(())
}

fn hide(root: &Root, path: &str, devices: Option<&Devices>) -> nix::Result<()> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let cover = if file_type(&fstat(&target)?) == SFlag::S_IFDIR {
        let empty = NewFilesystem::open(c"tmpfs")?;
        empty.set(c"size", Some(c"0"))?;
        empty.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)?
    } else {
        // The device that was made here, not what the image calls /dev/null.
        devices.ok_or(Errno::ENODEV)?.clone_null()?
    };
    attach(cover.as_fd(), target.as_fd())
}

/// Makes paths read-only.
pub fn protect(root: &Root, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        let protected = existing(root, path).and_then(|target| {
            let Some(target) = target else { return Ok(()) };
            let copy = clone_tree(&target, c"")?;
            set_attributes(copy.as_fd(), attr::RDONLY)?;
            attach(copy.as_fd(), target.as_fd())
        });
        protected.context(&format!("cannot make {path} read-only"))?;
    }
    Ok(())
}

/// What is at `path`, if it exists. A kernel without a feature has no file for it.
fn existing(root: &Root, path: &str) -> nix::Result<Option<OwnedFd>> {
    match root.look_up(Path::new(path), OFlag::O_PATH) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}
