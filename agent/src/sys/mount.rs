//! The mount calls that work on descriptors. A mount is made first and attached to an open directory afterwards, so the
//! kernel never resolves a path of an image for the agent.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::check;

/// `MOUNT_ATTR_*` of mount_setattr(2): the flags of a single mount.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities mean nothing.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The bits that choose how access times are kept; zero is `relatime`.
    pub const ATIME_MASK: u64 = 0x70;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always kept.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the call has just made this descriptor, and nothing else owns it; descriptors fit in an i32.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A file system that is being configured.
pub struct NewFilesystem(OwnedFd);

impl NewFilesystem {
    /// Starts to configure a file system of the given type.
    ///
    /// # Errors
    /// ENODEV when the kernel has no such file system.
    pub fn open(kind: &CStr) -> nix::Result<Self> {
        // SAFETY: the string is terminated and only read.
        owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) }).map(Self)
    }

    /// Sets `key` to `value`, or sets the flag `key`.
    ///
    /// # Errors
    /// EINVAL when the file system does not know it; [`Self::complaint`] then has the reason.
    pub fn set(&self, key: &CStr, value: Option<&CStr>) -> nix::Result<()> {
        let (command, value) = match value {
            Some(value) => (FSCONFIG_SET_STRING, value.as_ptr()),
            None => (FSCONFIG_SET_FLAG, ptr::null()),
        };
        self.configure(command, key.as_ptr(), value)
    }

    /// Makes the file system and an unattached mount of it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn mount(&self, attributes: u64) -> nix::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())?;
        // SAFETY: plain numbers and a descriptor that is open.
        owned(unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
    }

    fn configure(
        &self,
        command: libc::c_uint,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> nix::Result<()> {
        // SAFETY: both pointers are null or terminated strings that outlive the call, which only reads them.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) })?;
        Ok(())
    }

    /// The file system's message about the last error, if there is one.
    pub fn complaint(&self) -> Option<String> {
        let mut message = [0; 256];
        let length = nix::unistd::read(&self.0, &mut message).ok()?;
        let text = String::from_utf8_lossy(&message[..length]);
        // "e " for an error, then the text.
        Some(text.split_once(' ').map_or(&*text, |(_, rest)| rest).trim_end().to_owned())
    }
}

/// An unattached mount of the file or directory `path` below `directory`; with an empty path of `directory` itself.
///
/// # Errors
/// Those of open_tree(2).
pub fn clone_tree(directory: impl AsFd, path: &CStr) -> nix::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC as libc::c_uint
        | (libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) as libc::c_uint;
    // SAFETY: the string is terminated and only read; the descriptor is open.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, directory.as_fd().as_raw_fd(), path.as_ptr(), flags) })
}

/// Attaches an unattached mount to an open directory or file.
///
/// # Errors
/// Those of move_mount(2): ENOTDIR when one is a directory and the other is not.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> nix::Result<()> {
    let empty = c"".as_ptr();
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: the strings are terminated and only read; both descriptors are open.
    check(unsafe {
        libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), empty, target.as_raw_fd(), empty, flags)
    })?;
    Ok(())
}

/// Sets flags ([`attr`]) of an open mount.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64) -> nix::Result<()> {
    let attributes = MountAttr { set, clear: 0, propagation: 0, userns: 0 };
    // SAFETY: the structure is the kernel's, of the size that is given, and only read.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}
