//! The client that a monitor was started by: a `moat run` at the other end of a socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use moat_protocol::{TerminalSize, frame};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::descriptors;
use super::link::Link;
use super::wire::{ClientMessage, MonitorMessage};

/// The longest first message, in bytes; the kernel hands it over in one piece, with the descriptors.
const MAX_ATTACH: usize = 512;

/// A client's connection. Once the client is gone, the container goes on without it.
pub struct Client(Option<Link<ClientMessage, MonitorMessage>>);

/// The streams that a client brought along.
#[derive(Default)]
pub struct Attached {
    /// Where the process's stdin comes from.
    pub stdin: Option<UnixStream>,
    /// Where its stdout goes.
    pub stdout: Option<UnixStream>,
    /// Where its stderr goes.
    pub stderr: Option<UnixStream>,
    /// The size of the client's terminal.
    pub size: Option<TerminalSize>,
}

impl Client {
    /// Takes over the connection that the monitor was started with and waits for the client's first message.
    ///
    /// # Errors
    /// When the client is gone already or says something else first.
    pub async fn accept(descriptor: OwnedFd) -> io::Result<(Self, Attached)> {
        let connection = stream(descriptor)?;
        let mut buffer = [0; MAX_ATTACH];
        let (length, descriptors) = connection
            .async_io(Interest::READABLE, || descriptors::receive(connection.as_fd(), &mut buffer))
            .await?;
        let message = frame::read(&mut &buffer[..length]).map_err(io::Error::other)?;
        let ClientMessage::Attach { stdin, stdout, stderr, size } = message else {
            return Err(io::Error::other("a client's first message must attach"));
        };
        let mut descriptors = descriptors.into_iter();
        let mut take = |wanted: bool| wanted.then(|| descriptors.next()).flatten().map(stream).transpose();
        let attached = Attached { stdin: take(stdin)?, stdout: take(stdout)?, stderr: take(stderr)?, size };
        Ok((Self(Some(Link::new(connection))), attached))
    }

    /// The client's next message. Once it is gone this never returns. It can be given up at any moment.
    pub async fn next(&mut self) -> ClientMessage {
        loop {
            let Some(link) = &mut self.0 else { return std::future::pending().await };
            match link.receive().await {
                Ok(message) => return message,
                Err(_) => self.0 = None,
            }
        }
    }

    /// Tells the client something.
    pub async fn send(&mut self, message: &MonitorMessage) {
        if let Some(link) = &mut self.0
            && link.send(message).await.is_err()
        {
            self.0 = None;
        }
    }
}

fn stream(descriptor: OwnedFd) -> io::Result<UnixStream> {
    let stream = StdUnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
