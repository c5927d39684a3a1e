//! What a process writes, as its client reads it.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use moat_protocol::output::{self, OUTPUT_HEADER};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use moat_protocol::output::Source;

/// How long output may stay away once the process has ended, while others still hold its pipes open.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How much is read of a terminal at once, in bytes.
const TERMINAL_CHUNK: usize = 16 << 10;

/// A process's output. With a terminal it is bytes, all of them stdout's; without one it is frames, each of which names
/// its source.
#[derive(Debug)]
pub struct Output {
    stream: UnixStream,
    terminal: bool,
    /// Readable when the process has ended.
    ending: UnixStream,
    /// Dropped to say so.
    ended: Option<UnixStream>,
    buffer: Vec<u8>,
}

/// Tells an [`Output`] that the process has ended: it then waits no longer than [`AFTERMATH`] for what still comes.
#[derive(Debug)]
pub struct Ended(#[expect(dead_code, reason = "closed by being dropped")] Option<UnixStream>);

impl Output {
    pub(crate) fn new(stream: UnixStream, terminal: bool) -> io::Result<Self> {
        let (ended, ending) = UnixStream::pair()?;
        let size = if terminal { TERMINAL_CHUNK } else { output::MAX_OUTPUT };
        Ok(Self { stream, terminal, ending, ended: Some(ended), buffer: vec![0; size] })
    }

    /// What is to be dropped when the process has ended.
    pub fn ended(&mut self) -> Ended {
        Ended(self.ended.take())
    }

    /// The next piece of output, or nothing when it is complete.
    ///
    /// # Errors
    /// When the stream breaks off within a frame, or does not consist of frames.
    pub fn next_piece(&mut self) -> io::Result<Option<(Source, &[u8])>> {
        let (source, length) = if self.terminal {
            match read(&self.stream, &self.ending, &mut self.buffer)? {
                0 => return Ok(None),
                length => (Source::Stdout, length),
            }
        } else {
            let mut header = [0; OUTPUT_HEADER];
            if !self.fill(&mut header)? {
                return Ok(None);
            }
            let (source, length) = output::parse(header).map_err(io::Error::other)?;
            let mut buffer = std::mem::take(&mut self.buffer);
            let whole = self.fill(&mut buffer[..length]);
            self.buffer = buffer;
            if !whole? && length > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (source, length)
        };
        Ok(Some((source, &self.buffer[..length])))
    }

    /// Fills `buffer`; false when the stream ends before its first byte.
    fn fill(&self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match read(&self.stream, &self.ending, &mut buffer[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => filled += length,
            }
        }
        Ok(filled > 0)
    }
}

/// Reads a stream that ends when the other side closes it, or when the process has ended and nothing comes for a while.
fn read(mut stream: &UnixStream, ending: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut patience = PollTimeout::NONE;
    loop {
        let mut events = vec![PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        if patience.is_none() {
            events.push(PollFd::new(ending.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut events, patience) {
            Ok(0) => return Ok(0),
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(e.into()),
            Ok(_) => {}
        }
        if events[0].any().unwrap_or(false) {
            return stream.read(buffer);
        }
        patience = PollTimeout::try_from(AFTERMATH).unwrap_or(PollTimeout::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn frame(source: Source, bytes: &[u8]) -> Vec<u8> {
        [&output::header(source, bytes.len())[..], bytes].concat()
    }

    #[test]
    fn frames_are_read_whole_however_they_come() {
        let (stream, mut guest) = UnixStream::pair().unwrap();
        let mut output = Output::new(stream, false).unwrap();
        let bytes = [frame(Source::Stdout, b"out"), frame(Source::Stderr, b"err")].concat();
        let writer = std::thread::spawn(move || {
            bytes.iter().for_each(|byte| guest.write_all(&[*byte]).unwrap());
        });
        assert_eq!(output.next_piece().unwrap(), Some((Source::Stdout, &b"out"[..])));
        assert_eq!(output.next_piece().unwrap(), Some((Source::Stderr, &b"err"[..])));
        assert_eq!(output.next_piece().unwrap(), None);
        writer.join().unwrap();
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_an_error() {
        let whole = frame(Source::Stdout, b"out");
        for length in 1..whole.len() {
            let (stream, mut guest) = UnixStream::pair().unwrap();
            guest.write_all(&whole[..length]).unwrap();
            drop(guest);
            assert!(Output::new(stream, false).unwrap().next_piece().is_err(), "{length}");
        }
    }

    #[test]
    fn what_others_hold_open_is_not_waited_for_once_the_process_has_ended() {
        let (stream, mut guest) = UnixStream::pair().unwrap();
        let mut output = Output::new(stream, true).unwrap();
        guest.write_all(b"last").unwrap();
        drop(output.ended());
        assert_eq!(output.next_piece().unwrap(), Some((Source::Stdout, &b"last"[..])));
        // Its other end is still open.
        assert_eq!(output.next_piece().unwrap(), None);
        drop(guest);
    }
}
