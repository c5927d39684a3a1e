//! The socket of a container's monitor: `containers/ID/monitor.sock`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use crate::Directory;

const NAME: &str = "monitor.sock";

/// Makes the socket. The caller holds the container, so what is there was left by a crash.
///
/// # Errors
/// Those of bind(2).
pub fn bind(directory: &Directory) -> io::Result<UnixListener> {
    remove(directory);
    let (_open, path) = short_path(directory)?;
    UnixListener::bind(path)
}

/// Connects to the container's monitor.
///
/// # Errors
/// Those of connect(2): without a monitor there is no socket, or no process listens.
pub fn connect(directory: &Directory) -> io::Result<UnixStream> {
    let (_open, path) = short_path(directory)?;
    UnixStream::connect(path)
}

/// Removes the socket: from here on no client connects.
pub fn remove(directory: &Directory) {
    // One that is not there is what is wanted; any other failure shows when the next is bound.
    let _ = fs::remove_file(directory.path().join(NAME));
}

/// A socket's address has room for 107 bytes, and a root directory may be deeper: this path goes by an open descriptor
/// of the directory, which must live as long as the path is used.
fn short_path(directory: &Directory) -> io::Result<(File, PathBuf)> {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(directory.path())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd()));
    Ok((open, path))
}
