//! A program that asks over TCP. Each message follows its length in two bytes (RFC 1035, 4.2.2). The next query is read
//! after the answer to the one before.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use moat_protocol::names::{MAX_QUERY, MIN_MESSAGE};

use crate::sys::poll::{self, Events};

/// The length in front of a message, in bytes.
const PREFIX: usize = 2;

/// A connected program.
pub struct Client {
    /// Its number.
    pub id: u32,
    stream: TcpStream,
    state: State,
}

enum State {
    /// A query is arriving: the bytes so far, with its length.
    Reading(Vec<u8>),
    /// The host has the query.
    Waiting,
    /// The answer is being written: the bytes that are left.
    Writing(Vec<u8>),
}

impl Client {
    /// Takes over a non-blocking connection.
    pub fn new(id: u32, stream: TcpStream) -> Self {
        Self { id, stream, state: State::Reading(Vec::new()) }
    }

    /// The descriptor to wait on.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// The events to wait for.
    pub fn interest(&self, takes_more: bool) -> Events {
        match self.state {
            State::Reading(_) if takes_more => poll::IN,
            State::Reading(_) | State::Waiting => 0,
            State::Writing(_) => poll::OUT,
        }
    }

    /// Reads or writes what is possible, and returns a query once it is complete.
    ///
    /// # Errors
    /// When the program is gone, or sends what is no query.
    pub fn advance(&mut self, events: Events, takes_more: bool) -> io::Result<Option<Vec<u8>>> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
        let query = match &mut self.state {
            // A query that cannot be taken now waits where it is.
            State::Reading(received) if takes_more => read_query(&mut self.stream, received)?,
            State::Writing(unsent) => {
                write_some(&mut self.stream, unsent)?;
                if unsent.is_empty() {
                    self.state = State::Reading(Vec::new());
                }
                return Ok(None);
            }
            // While the host has the query, only the end of the connection matters.
            _ if events & poll::GONE != 0 => return Err(gone()),
            _ => None,
        };
        if query.is_some() {
            self.state = State::Waiting;
        }
        Ok(query)
    }

    /// Takes the answer, to be written next.
    pub fn answer(&mut self, answer: &[u8]) {
        // An answer's length fits: the host sends it in two bytes.
        let mut message = (answer.len() as u16).to_be_bytes().to_vec();
        message.extend(answer);
        self.state = State::Writing(message);
    }
}

fn read_query(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        let wanted = match received.first_chunk::<PREFIX>() {
            Some(length) => PREFIX + usize::from(u16::from_be_bytes(*length)),
            None => PREFIX,
        };
        if received.len() >= PREFIX {
            if !(PREFIX + MIN_MESSAGE..=PREFIX + MAX_QUERY).contains(&wanted) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if received.len() == wanted {
                return Ok(Some(received.split_off(PREFIX)));
            }
        }
        let start = received.len();
        received.resize(wanted, 0);
        let count = stream.read(&mut received[start..]);
        received.truncate(start + count.as_ref().copied().unwrap_or(0));
        match count {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes what a non-blocking sink takes.
///
/// # Errors
/// When it is broken.
pub fn write_some(sink: &mut impl Write, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match sink.write(unsent) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
