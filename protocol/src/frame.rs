//! Frames: an 8-byte header and a JSON payload.
//!
//! ```text
//! offset  size  field
//!      0     2  magic, "mo"
//!      2     1  version of the payload's message set
//!      3     1  reserved, zero
//!      4     4  payload length in bytes, little-endian, at most MAX_PAYLOAD
//! ```
//!
//! Frames carry more than one set of messages: the agent's and the monitor's. Each set has a version of its own, and a
//! message says which by [`Message::VERSION`]. Frames themselves have none.
//!
//! The header is decoded before memory for the payload is allocated, so a peer that lies about a length costs nothing.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// The size of a frame's header in bytes.
pub const HEADER_SIZE: usize = 8;

/// The largest payload in bytes. The biggest message is a container specification with a large environment; Linux itself
/// refuses more than 128 KiB for one argument and about 2 MiB for all of them.
pub const MAX_PAYLOAD: usize = 4 << 20;

const MAGIC: [u8; 2] = *b"mo";

/// What a frame carries.
pub trait Message {
    /// The version of the set of messages that this one belongs to. Both ends must have the same.
    const VERSION: u8;
}

/// What can be wrong with a frame.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The peer closed the connection between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection failed or ended within a frame.
    #[error("the connection broke within a frame: {0}")]
    Io(#[from] io::Error),
    /// The first bytes are not a frame's.
    #[error("not a frame: it starts with {0:02x?}")]
    Magic([u8; 2]),
    /// The peer speaks another version of the message set.
    #[error("the peer speaks protocol version {found}, this side {expected}")]
    Version {
        /// The peer's.
        found: u8,
        /// This side's.
        expected: u8,
    },
    /// The announced payload is larger than [`MAX_PAYLOAD`].
    #[error("a payload of {0} bytes is over the limit of {MAX_PAYLOAD}")]
    TooLarge(usize),
    /// The payload is not the message that was expected.
    #[error("malformed message: {0}")]
    Message(#[from] serde_json::Error),
}

/// Encodes `message` as one whole frame.
///
/// # Errors
/// [`FrameError::TooLarge`] when the payload would exceed [`MAX_PAYLOAD`].
pub fn encode<T: Message + Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_SIZE];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - HEADER_SIZE;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLarge(length));
    }
    frame[..2].copy_from_slice(&MAGIC);
    frame[2] = T::VERSION;
    // MAX_PAYLOAD fits in 32 bits, so the length does.
    frame[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Decodes the header of a `T` and returns the payload's length in bytes.
///
/// # Errors
/// Any but [`FrameError::Closed`], [`FrameError::Io`] and [`FrameError::Message`].
pub fn payload_length<T: Message>(header: [u8; HEADER_SIZE]) -> Result<usize, FrameError> {
    let [m0, m1, version, _, l0, l1, l2, l3] = header;
    if [m0, m1] != MAGIC {
        return Err(FrameError::Magic([m0, m1]));
    }
    if version != T::VERSION {
        return Err(FrameError::Version { found: version, expected: T::VERSION });
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLarge(length));
    }
    Ok(length)
}

/// Decodes a payload.
///
/// # Errors
/// [`FrameError::Message`] when the payload is not a `T`.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(payload)?)
}

/// Reads one frame from a blocking connection.
///
/// # Errors
/// [`FrameError::Closed`] at a clean end, else what is wrong with the frame.
pub fn read<T: Message + DeserializeOwned>(connection: &mut impl Read) -> Result<T, FrameError> {
    let mut header = [0; HEADER_SIZE];
    let mut filled = 0;
    while filled < HEADER_SIZE {
        match connection.read(&mut header[filled..]) {
            Ok(0) if filled == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let mut payload = vec![0; payload_length::<T>(header)?];
    connection.read_exact(&mut payload)?;
    decode(&payload)
}

/// Writes one frame to a blocking connection.
///
/// # Errors
/// [`FrameError::TooLarge`] or [`FrameError::Io`].
pub fn write<T: Message + Serialize>(connection: &mut impl Write, message: &T) -> Result<(), FrameError> {
    connection.write_all(&encode(message)?)?;
    Ok(())
}
