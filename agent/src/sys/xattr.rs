//! Extended attributes of open files and directories.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// The longest list of names, and the longest value, in bytes.
const LONGEST: usize = 64 << 10;

/// Sets an attribute.
///
/// # Errors
/// Those of fsetxattr(2).
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> nix::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name is terminated, the value as long as the call is told; both are only read.
    Errno::result(unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })?;
    Ok(())
}

/// The value of an attribute; nothing where there is none.
///
/// # Errors
/// Those of fgetxattr(2).
pub fn get(file: impl AsFd, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
    let fd = file.as_fd().as_raw_fd();
    let call = |buffer: &mut [u8]| {
        // SAFETY: the name is terminated and only read; the buffer is as long as the call is told.
        let length = unsafe { libc::fgetxattr(fd, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        Errno::result(length)
    };
    match fill(call) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of all attributes.
///
/// # Errors
/// Those of flistxattr(2).
pub fn list(file: impl AsFd) -> nix::Result<Vec<CString>> {
    let fd = file.as_fd().as_raw_fd();
    let call = |buffer: &mut [u8]| {
        // SAFETY: the buffer is as long as the call is told.
        Errno::result(unsafe { libc::flistxattr(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
    };
    let names = match fill(call) {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    Ok(names
        .split(|byte| *byte == 0)
        .filter(|n| !n.is_empty())
        .filter_map(|n| CString::new(n).ok())
        .collect())
}

/// Reads the result of a call into a buffer. The call first tells the length; most often it is zero, and no buffer is
/// needed.
fn fill(call: impl Fn(&mut [u8]) -> nix::Result<isize>) -> nix::Result<Vec<u8>> {
    if call(&mut [])? == 0 {
        return Ok(Vec::new());
    }
    let mut buffer = vec![0; LONGEST];
    let length = call(&mut buffer)?;
    buffer.truncate(length as usize);
    Ok(buffer)
}
