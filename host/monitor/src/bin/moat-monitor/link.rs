//! A connection that carries frames both ways: to the guest's agent, and to a client.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};

use moat_protocol::frame::{self, FrameError, HEADER_SIZE, Message};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// How many received messages may wait; a peer that sends more is read no further.
const BACKLOG: usize = 4;

/// The half of a connection that receives `In`.
pub struct Receiver<In>(mpsc::Receiver<Result<In, FrameError>>);

/// The half of a connection that sends `Out`.
pub struct Sender<Out>(OwnedWriteHalf, PhantomData<fn(Out)>);

/// Frames `connection`. A task of its own reads it, so that [`Receiver::receive`] can be given up at any moment.
pub fn split<In: Message + DeserializeOwned + Send + 'static, Out: Message + Serialize>(
    connection: UnixStream,
) -> (Receiver<In>, Sender<Out>) {
    let (reader, writer) = connection.into_split();
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(read_all(reader, sender));
    (Receiver(receiver), Sender(writer, PhantomData))
}

impl<In> Receiver<In> {
    /// The next message.
    ///
    /// # Errors
    /// [`FrameError::Closed`] when the peer is gone, or what was wrong with what it sent; no message follows an error.
    pub async fn receive(&mut self) -> Result<In, FrameError> {
        self.0.recv().await.unwrap_or(Err(FrameError::Closed))
    }
}

impl<Out: Message + Serialize> Sender<Out> {
    /// Sends a message.
    ///
    /// # Errors
    /// When the message is too large or the peer is gone.
    pub async fn send(&mut self, message: &Out) -> Result<(), FrameError> {
        self.0.write_all(&frame::encode(message)?).await?;
        Ok(())
    }

    /// Sends a message and with it, descriptors.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send_with(
        &mut self,
        message: &Out,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), FrameError> {
        let bytes = frame::encode(message)?;
        let stream: &UnixStream = self.0.as_ref();
        let send =
            || -> io::Result<()> { moat_monitor::descriptors::send(stream.as_fd(), &bytes, descriptors) };
        stream.async_io(Interest::WRITABLE, send).await?;
        Ok(())
    }
}

async fn read_all<In: Message + DeserializeOwned>(
    mut reader: OwnedReadHalf,
    sender: mpsc::Sender<Result<In, FrameError>>,
) {
    loop {
        let message = read(&mut reader).await;
        let last = message.is_err();
        if sender.send(message).await.is_err() || last {
            return;
        }
    }
}

/// Reads one frame from an asynchronous connection.
///
/// # Errors
/// As [`frame::read`].
pub async fn read<T: Message + DeserializeOwned>(
    connection: &mut (impl AsyncReadExt + Unpin),
) -> Result<T, FrameError> {
    let mut header = [0; HEADER_SIZE];
    let first = connection.read(&mut header).await?;
    if first == 0 {
        return Err(FrameError::Closed);
    }
    connection.read_exact(&mut header[first..]).await?;
    let mut payload = vec![0; frame::payload_length::<T>(header)?];
    connection.read_exact(&mut payload).await?;
    frame::decode(&payload)
}
