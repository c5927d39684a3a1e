//! How the agent reaches the host.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys;

/// Opens connections to the host. The guest has vsock; the tests have unix sockets.
pub trait Dial {
    /// Opens a stream connection to a port of the host.
    ///
    /// # Errors
    /// When the host does not answer.
    fn dial(&self, port: u32) -> io::Result<OwnedFd>;
}

/// The host, CID 2, over vsock.
pub struct Vsock;

impl Dial for Vsock {
    fn dial(&self, port: u32) -> io::Result<OwnedFd> {
        Ok(sys::socket::dial_host(port)?)
    }
}
