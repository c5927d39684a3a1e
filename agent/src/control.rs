//! The control connection: frames in both directions without ever waiting.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use moat_protocol::frame::{self, FrameError, HEADER_SIZE};
use moat_protocol::{GuestMessage, guest::HostMessage};
use nix::errno::Errno;
use nix::unistd::{read, write};

use crate::streams::set_nonblocking;
use crate::sys::poll::{self, Events};

/// The memory for a payload grows in steps of so many bytes, as they arrive.
const CHUNK: usize = 64 << 10;

/// With this many bytes unsent the agent takes no further requests, so that a host that does not read cannot fill its
/// memory.
const UNSENT_LIMIT: usize = 64 << 10;

/// The control connection.
pub struct Control {
    socket: OwnedFd,
    header: [u8; HEADER_SIZE],
    payload: Vec<u8>,
    /// How many bytes of header and payload have arrived.
    received: usize,
    unsent: Vec<u8>,
}

impl Control {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn new(socket: OwnedFd) -> nix::Result<Self> {
        set_nonblocking(&socket)?;
        Ok(Self { socket, header: [0; HEADER_SIZE], payload: Vec::new(), received: 0, unsent: Vec::new() })
    }

    /// The socket.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The events to wait for.
    pub fn interest(&self) -> Events {
        let read = if self.unsent.len() < UNSENT_LIMIT { poll::IN } else { 0 };
        let write = if self.unsent.is_empty() { 0 } else { poll::OUT };
        read | write
    }

    /// Takes the next message, if one has arrived in full.
    ///
    /// # Errors
    /// When the host has closed the connection, or sends what is no message.
    pub fn receive(&mut self) -> Result<Option<HostMessage>, FrameError> {
        while self.received < HEADER_SIZE {
            let Some(count) = self.read_into_header()? else { return Ok(None) };
            self.received += count;
        }
        let length = frame::payload_length::<HostMessage>(self.header)?;
        while self.received - HEADER_SIZE < length {
            let filled = self.received - HEADER_SIZE;
            self.payload.resize(length.min(filled + CHUNK), 0);
            let Some(count) = attempt(read(&self.socket, &mut self.payload[filled..]))? else {
                return Ok(None);
            };
            self.received += count;
        }
        self.received = 0;
        // The memory of a large message is not kept.
        frame::decode(&std::mem::take(&mut self.payload)).map(Some)
    }

    fn read_into_header(&mut self) -> Result<Option<usize>, FrameError> {
        match attempt(read(&self.socket, &mut self.header[self.received..])) {
            Err(FrameError::Io(error))
                if self.received == 0 && error.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                Err(FrameError::Closed)
            }
            other => other,
        }
    }

    /// Queues a message and sends as much as the connection takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, message: &GuestMessage) -> Result<(), FrameError> {
        self.send_frame(frame::encode(message)?)
    }

    /// Queues a message that is a frame already and sends as much as the connection takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send_frame(&mut self, frame: Vec<u8>) -> Result<(), FrameError> {
        self.unsent.extend(frame);
        self.flush()
    }

    /// Sends as much of what is queued as the connection takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self) -> Result<(), FrameError> {
        while !self.unsent.is_empty() {
            match write(&self.socket, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(FrameError::Io(error.into())),
            }
        }
        Ok(())
    }
}

/// The count of bytes that were read; nothing if none has arrived yet; an error at the end of the connection.
fn attempt(result: nix::Result<usize>) -> Result<Option<usize>, FrameError> {
    match result {
        Ok(0) => Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into())),
        Ok(count) => Ok(Some(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(error) => Err(FrameError::Io(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_protocol::HostMessage as Sent;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    fn pair() -> (OwnedFd, Control) {
        let (host, guest) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (host, Control::new(guest).unwrap())
    }

    #[test]
    fn a_message_that_arrives_byte_by_byte_is_one_message() {
        let (host, mut control) = pair();
        let bytes = frame::encode(&Sent::Shutdown).unwrap();
        let (last, most) = bytes.split_last().unwrap();
        for byte in most {
            write(&host, &[*byte]).unwrap();
            assert!(control.receive().unwrap().is_none());
        }
        write(&host, &[*last]).unwrap();
        assert!(matches!(control.receive(), Ok(Some(HostMessage::Shutdown))));
        assert!(control.receive().unwrap().is_none());
    }

    #[test]
    fn a_closed_connection_is_told_from_a_cut_one() {
        let (host, mut control) = pair();
        drop(host);
        assert!(matches!(control.receive(), Err(FrameError::Closed)));
        let (host, mut control) = pair();
        write(&host, b"mo").unwrap();
        drop(host);
        assert!(matches!(control.receive(), Err(FrameError::Io(_))));
    }

    #[test]
    fn a_large_announcement_takes_no_memory() {
        let (host, mut control) = pair();
        let mut header = frame::encode(&Sent::Shutdown).unwrap()[..HEADER_SIZE].to_vec();
        header[4..].copy_from_slice(&(4u32 << 20).to_le_bytes());
        write(&host, &header).unwrap();
        assert!(control.receive().unwrap().is_none());
        assert!(control.payload.capacity() <= CHUNK);
        header[4..].copy_from_slice(&u32::MAX.to_le_bytes());
        let (host, mut control) = pair();
        write(&host, &header).unwrap();
        assert!(matches!(control.receive(), Err(FrameError::TooLarge(_))));
    }

    #[test]
    fn a_host_that_does_not_read_stops_being_read() {
        let (_host, mut control) = pair();
        while control.unsent.len() < UNSENT_LIMIT {
            control.send(&GuestMessage::Hello).unwrap();
        }
        assert_eq!(control.interest(), poll::OUT);
    }
}
