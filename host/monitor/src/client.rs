//! A client's end of a connection to a monitor.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use moat_protocol::frame::{self, FrameError, HEADER_SIZE};

use crate::descriptors;
use crate::wire::{ClientMessage, MonitorMessage};

/// A connection for one request. It blocks.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl Connection {
    /// Takes over a connected socket.
    pub fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the message is too large or the monitor is gone.
    pub fn send(&mut self, message: &ClientMessage) -> Result<(), FrameError> {
        self.0.write_all(&frame::encode(message)?)?;
        Ok(())
    }

    /// Waits for a message, and the descriptors that are sent with it.
    ///
    /// # Errors
    /// [`FrameError::Closed`] when the monitor is gone.
    pub fn receive(&mut self) -> Result<(MonitorMessage, Vec<OwnedFd>), FrameError> {
        let mut header = [0; HEADER_SIZE];
        // The descriptors lie with the first byte.
        let (length, descriptors) = loop {
            match descriptors::receive(self.0.as_fd(), &mut header) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if length == 0 {
            return Err(FrameError::Closed);
        }
        self.0.read_exact(&mut header[length..])?;
        let mut payload = vec![0; frame::payload_length::<MonitorMessage>(header)?];
        self.0.read_exact(&mut payload)?;
        Ok((frame::decode(&payload)?, descriptors))
    }

    /// Waits for a message no longer than `limit`.
    ///
    /// # Errors
    /// As [`Connection::receive`]; `TimedOut` when the time is over, and then nothing more can be received.
    pub fn receive_within(&mut self, limit: Duration) -> Result<(MonitorMessage, Vec<OwnedFd>), FrameError> {
        self.0.set_read_timeout(Some(limit))?;
        self.receive().map_err(|error| match error {
            FrameError::Io(e) if e.kind() == io::ErrorKind::WouldBlock => {
                FrameError::Io(io::ErrorKind::TimedOut.into())
            }
            other => other,
        })
    }

    /// Sends a request and waits for its one answer.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn ask(&mut self, message: &ClientMessage) -> Result<MonitorMessage, FrameError> {
        self.send(message)?;
        Ok(self.receive()?.0)
    }

    /// Another handle on the same connection.
    ///
    /// # Errors
    /// When this process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}
