//! Vsock, and descriptors that travel over unix sockets.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, VsockAddr, connect, recvmsg, socket,
};

/// How long the host may take to answer a connection. The kernel's own limit of two seconds is short for a host that
/// starts a hundred guests at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Opens a connection to a port of the host.
///
/// # Errors
/// Those of socket(2) and connect(2).
pub fn dial_host(port: u32) -> nix::Result<OwnedFd> {
    const SO_VM_SOCKETS_CONNECT_TIMEOUT: libc::c_int = 6;
    let socket = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = libc::timeval { tv_sec: CONNECT_LIMIT.as_secs() as i64, tv_usec: 0 };
    // SAFETY: the option reads a timeval of the size that is given.
    Errno::result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::AF_VSOCK,
            SO_VM_SOCKETS_CONNECT_TIMEOUT,
            (&raw const limit).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    })?;
    connect(socket.as_fd().as_raw_fd(), &VsockAddr::new(libc::VMADDR_CID_HOST, port))?;
    Ok(socket)
}

/// Receives one message without waiting, and the descriptor that came with it.
///
/// # Errors
/// Those of recvmsg(2); EAGAIN when there is no message.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut slices = [IoSliceMut::new(bytes)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let descriptor = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: recvmsg has just made this descriptor, nothing else owns it, and there was room for one only.
    let descriptor = descriptor.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((received.bytes, descriptor))
}
