//! The connection that carries queries to the host and answers back. It never waits.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use moat_protocol::names::{NAMES_HEADER, NamesHeader};

use super::client::write_some;
use crate::streams::set_nonblocking;
use crate::sys::poll::{self, Events};

/// With this many bytes unsent no further query is taken.
const UNSENT_LIMIT: usize = 64 << 10;

/// The connection.
pub struct Link {
    socket: File,
    unsent: Vec<u8>,
    /// What has arrived of a header and its message.
    received: Vec<u8>,
}

impl Link {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn new(socket: OwnedFd) -> nix::Result<Self> {
        set_nonblocking(&socket)?;
        Ok(Self { socket: socket.into(), unsent: Vec::new(), received: Vec::new() })
    }

    /// The descriptor to wait on.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The events to wait for.
    pub fn interest(&self) -> Events {
        poll::IN | if self.unsent.is_empty() { 0 } else { poll::OUT }
    }

    /// Whether another query may be sent.
    pub fn has_room(&self) -> bool {
        self.unsent.len() < UNSENT_LIMIT
    }

    /// Queues a message and sends as much as the connection takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, header: NamesHeader, message: &[u8]) -> io::Result<()> {
        self.unsent.extend(header.encode());
        self.unsent.extend(message);
        self.flush()
    }

    /// Sends as much of what is queued as the connection takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        write_some(&mut self.socket, &mut self.unsent)
    }

    /// The next message, if it has arrived in full.
    ///
    /// # Errors
    /// When the host has closed the connection, or sends what is no message.
    pub fn receive(&mut self) -> io::Result<Option<(NamesHeader, Vec<u8>)>> {
        loop {
            let header = match self.received.first_chunk::<NAMES_HEADER>() {
                Some(header) => Some(NamesHeader::parse(*header).ok_or(io::ErrorKind::InvalidData)?),
                None => None,
            };
            let wanted = NAMES_HEADER + header.map_or(0, |header| usize::from(header.length));
            if let Some(header) = header
                && self.received.len() == wanted
            {
                return Ok(Some((header, std::mem::take(&mut self.received).split_off(NAMES_HEADER))));
            }
            let start = self.received.len();
            self.received.resize(wanted, 0);
            let count = self.socket.read(&mut self.received[start..]);
            self.received.truncate(start + count.as_ref().copied().unwrap_or(0));
            match count {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
