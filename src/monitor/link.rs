//! A connection that carries frames both ways: to the guest's agent, and to a client.

use std::marker::PhantomData;

use moat_protocol::frame::{self, FrameError, HEADER_SIZE};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// How many received messages may wait; a peer that sends more is read no further.
const BACKLOG: usize = 4;

/// A framed connection that receives `In` and sends `Out`.
pub struct Link<In, Out> {
    incoming: mpsc::Receiver<Result<In, FrameError>>,
    outgoing: OwnedWriteHalf,
    sends: PhantomData<fn(Out)>,
}

impl<In: DeserializeOwned + Send + 'static, Out: Serialize> Link<In, Out> {
    /// Frames `connection`. A task of its own reads it, so that [`Link::receive`] can be given up at any moment.
    pub fn new(connection: UnixStream) -> Self {
        let (reader, outgoing) = connection.into_split();
        let (sender, incoming) = mpsc::channel(BACKLOG);
        tokio::spawn(read_all(reader, sender));
        Self { incoming, outgoing, sends: PhantomData }
    }

    /// The next message.
    ///
    /// # Errors
    /// [`FrameError::Closed`] when the peer is gone, or what was wrong with what it sent; no message follows an error.
    pub async fn receive(&mut self) -> Result<In, FrameError> {
        self.incoming.recv().await.unwrap_or(Err(FrameError::Closed))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the message is too large or the peer is gone.
    pub async fn send(&mut self, message: &Out) -> Result<(), FrameError> {
        self.outgoing.write_all(&frame::encode(message)?).await?;
        Ok(())
    }
}

async fn read_all<In: DeserializeOwned>(
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
pub async fn read<T: DeserializeOwned>(
    connection: &mut (impl AsyncReadExt + Unpin),
) -> Result<T, FrameError> {
    let mut header = [0; HEADER_SIZE];
    let first = connection.read(&mut header).await?;
    if first == 0 {
        return Err(FrameError::Closed);
    }
    connection.read_exact(&mut header[first..]).await?;
    let mut payload = vec![0; frame::payload_length(header)?];
    connection.read_exact(&mut payload).await?;
    frame::decode(&payload)
}
