//! How a connection of the guest reaches the host: a new pair of sockets, one end handed to the launcher.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

/// Sends one end of a new pair over `dial`, with the port in four bytes, little-endian, and returns the other. Both
/// ends are non-blocking streams.
///
/// # Errors
/// When the launcher has not taken enough of the connections before, or there are no descriptors left.
pub fn open(dial: BorrowedFd<'_>, port: u32) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    // MSG_DONTWAIT, because the launcher shares the description and chooses its O_NONBLOCK.
    sendmsg::<()>(
        dial.as_raw_fd(),
        &[IoSlice::new(&port.to_le_bytes())],
        &[ControlMessage::ScmRights(&[theirs.as_raw_fd()])],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(UnixStream::from(ours))
}
