//! The stdio streams between the container's process and the host.
//!
//! Each direction is a relay between two non-blocking descriptors. It reads into one buffer that all relays share, and
//! keeps only what the other side does not take at once; until that is gone it reads nothing more. So each stream
//! holds at most one buffer, the rest waits in the pipe or in vsock's credit, and an idle stream holds nothing.
//! splice(2) would not help: vsock has no zero-copy path from a pipe, and a terminal none at all.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, tcgetattr};
use nix::unistd::{read, write};

use crate::sys::poll::{self, Events};

/// The size of the shared buffer in bytes: a pipe's capacity, so that one read empties it.
pub const BUFFER_SIZE: usize = 64 << 10;

/// How many buffers one relay moves before the others get their turn.
const TURN: usize = 8;

/// One end of a relay.
pub enum End {
    /// A connection to the host.
    Host(OwnedFd),
    /// The agent's end of one of the process's pipes.
    Pipe(OwnedFd),
    /// The master of the process's terminal.
    Terminal(OwnedFd),
}

impl End {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Host(fd) | Self::Pipe(fd) | Self::Terminal(fd) => fd.as_fd(),
        }
    }
}

/// Whether a relay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It waits for more.
    Open,
    /// It is over; dropping it closes both ends.
    Ended,
}

/// One direction of one stream.
pub struct Relay {
    source: End,
    sink: End,
    /// What the sink has not taken yet.
    pending: Vec<u8>,
    /// The host will send nothing more on the sink's connection. It need not be told again.
    sink_half_closed: bool,
    /// Whether the last byte that went to a terminal ended a line.
    at_line_start: bool,
}

impl Relay {
    /// Connects two ends and makes them non-blocking.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn new(source: End, sink: End) -> nix::Result<Self> {
        set_nonblocking(source.fd())?;
        set_nonblocking(sink.fd())?;
        Ok(Self { source, sink, pending: Vec::new(), sink_half_closed: false, at_line_start: true })
    }

    /// Whether one of the ends is the process's terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self.source, End::Terminal(_)) || matches!(self.sink, End::Terminal(_))
    }

    /// Whether this is the output of the process's terminal.
    pub fn is_terminal_output(&self) -> bool {
        matches!(self.source, End::Terminal(_))
    }

    /// What to wait for at the source. Nothing while the sink is behind: not even the end, or the wait would be none.
    pub fn source_interest(&self) -> Option<(BorrowedFd<'_>, Events)> {
        self.pending.is_empty().then(|| (self.source.fd(), poll::IN))
    }

    /// What to wait for at the sink: room, or that it is closed.
    pub fn sink_interest(&self) -> (BorrowedFd<'_>, Events) {
        let room = if self.pending.is_empty() { 0 } else { poll::OUT };
        let closed =
            if self.sink_half_closed || !matches!(self.sink, End::Host(_)) { 0 } else { poll::RDHUP };
        (self.sink.fd(), room | closed)
    }

    /// Moves what can be moved. `sink_events` is what the wait found at the sink.
    pub fn pump(&mut self, sink_events: Events, buffer: &mut [u8]) -> Flow {
        if self.sink_is_gone(sink_events) {
            return self.give_up();
        }
        for _ in 0..TURN {
            match self.drain() {
                Ok(()) => {}
                Err(Errno::EAGAIN) => return Flow::Open,
                Err(_) => return self.give_up(),
            }
            match read(self.source.fd(), buffer) {
                // A terminal says EIO when the last process has closed it.
                Ok(0) | Err(Errno::EIO | Errno::ECONNRESET | Errno::ENOTCONN) => return self.finish(),
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) => return Flow::Open,
                Err(_) => return self.finish(),
            }
        }
        Flow::Open
    }

    /// Writes what is pending; EAGAIN when the sink does not take all of it.
    fn drain(&mut self) -> nix::Result<()> {
        while !self.pending.is_empty() {
            match write(self.sink.fd(), &self.pending) {
                Ok(count) => {
                    self.at_line_start = self.pending.get(count.wrapping_sub(1)) == Some(&b'\n');
                    self.pending.drain(..count);
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        // An idle stream holds no memory.
        self.pending = Vec::new();
        Ok(())
    }

    /// Whether nobody will ever read from the sink again.
    fn sink_is_gone(&mut self, events: Events) -> bool {
        if events & poll::GONE != 0 {
            return true;
        }
        if events & poll::RDHUP == 0 {
            return false;
        }
        // The host sends nothing more on this connection, which is its right, or it has closed it: vsock's poll(2)
        // does not tell which, but sending nothing does.
        self.sink_half_closed = true;
        let nothing = send(self.sink.fd().as_raw_fd(), &[], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        matches!(nothing, Err(Errno::EPIPE | Errno::ENOTCONN | Errno::ECONNRESET))
    }

    /// The source has ended and everything is delivered: so does the sink.
    fn finish(&mut self) -> Flow {
        match &self.sink {
            End::Host(fd) => {
                // The host sees the end even if a copy of the connection lives on somewhere.
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
            }
            End::Terminal(fd) => self.type_end_of_file(fd.as_fd()),
            // Closing it is all there is to do.
            End::Pipe(_) => {}
        }
        Flow::Ended
    }

    /// The sink is closed: the source is told by closing it too.
    fn give_up(&mut self) -> Flow {
        if let End::Host(fd) = &self.source {
            let _ = shutdown(fd.as_raw_fd(), Shutdown::Both);
        }
        Flow::Ended
    }

    /// A terminal's end of input is a character. In the middle of a line it only ends that, so it is typed twice.
    fn type_end_of_file(&self, master: BorrowedFd<'_>) {
        let Ok(settings) = tcgetattr(master) else { return };
        if !settings.local_flags.contains(LocalFlags::ICANON) {
            return;
        }
        let character = settings.control_chars[SpecialCharacterIndices::VEOF as usize];
        let times = if self.at_line_start { 1 } else { 2 };
        // A terminal that does not take it has a full line waiting already and nobody who reads.
        let _ = write(master, &[character; 2][..times]);
    }
}

/// Makes reads and writes return instead of waiting.
///
/// # Errors
/// Those of fcntl(2).
pub fn set_nonblocking(fd: impl AsFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::unistd::pipe2;

    fn sockets() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    /// (the process's end, the host's end, the relay from the first to the second)
    fn output() -> (OwnedFd, OwnedFd, Relay) {
        let (read_end, write_end) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (host, guest) = sockets();
        (write_end, host, Relay::new(End::Pipe(read_end), End::Host(guest)).unwrap())
    }

    /// (the host's end, the process's end, the relay from the first to the second)
    fn input() -> (OwnedFd, OwnedFd, Relay) {
        let (read_end, write_end) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (host, guest) = sockets();
        (host, read_end, Relay::new(End::Host(guest), End::Pipe(write_end)).unwrap())
    }

    fn pump(relay: &mut Relay) -> Flow {
        let events = {
            let (fd, events) = relay.sink_interest();
            let mut interests = [poll::Interest::new(fd, events)];
            poll::wait(&mut interests, Some(std::time::Duration::ZERO)).unwrap();
            interests[0].found()
        };
        relay.pump(events, &mut vec![0; BUFFER_SIZE])
    }

    #[test]
    fn output_arrives_and_ends() {
        let (process, host, mut relay) = output();
        write(&process, b"hello").unwrap();
        assert_eq!(pump(&mut relay), Flow::Open);
        let mut got = [0; 16];
        assert_eq!(read(&host, &mut got).unwrap(), 5);
        drop(process);
        assert_eq!(pump(&mut relay), Flow::Ended);
        assert_eq!(read(&host, &mut got).unwrap(), 0);
    }

    #[test]
    fn a_slow_host_holds_the_process_back() {
        let (process, host, mut relay) = output();
        set_nonblocking(&process).unwrap();
        let chunk = [7; 4096];
        let mut sent = 0;
        for _ in 0..10_000 {
            match write(&process, &chunk) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) if relay.source_interest().is_none() => break,
                Err(Errno::EAGAIN) => assert_eq!(pump(&mut relay), Flow::Open),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(
            relay.source_interest().is_none(),
            "{sent} bytes were taken and the process still not held back"
        );
        assert!(relay.pending.len() <= BUFFER_SIZE);
        drop(process);
        // Nothing is lost, and the end comes only after the last byte.
        let mut got = 0;
        let mut buffer = vec![0; BUFFER_SIZE];
        let mut flow = Flow::Open;
        loop {
            if flow == Flow::Open {
                flow = pump(&mut relay);
            }
            match read(&host, &mut buffer).unwrap() {
                0 => break,
                count => got += count,
            }
        }
        assert_eq!(got, sent);
    }

    #[test]
    fn a_host_that_closes_output_breaks_the_pipe() {
        let (process, host, mut relay) = output();
        drop(host);
        assert_eq!(pump(&mut relay), Flow::Ended);
        drop(relay);
        // The test's runtime ignores SIGPIPE, as the agent does.
        assert_eq!(write(&process, b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn a_host_that_only_stops_sending_still_gets_output() {
        let (process, host, mut relay) = output();
        shutdown(host.as_raw_fd(), Shutdown::Write).unwrap();
        assert_eq!(pump(&mut relay), Flow::Open);
        write(&process, b"still").unwrap();
        assert_eq!(pump(&mut relay), Flow::Open);
        assert_eq!(read(&host, &mut [0; 16]).unwrap(), 5);
        assert_eq!(relay.sink_interest().1, 0);
    }

    #[test]
    fn input_arrives_and_its_end_closes_the_pipe() {
        let (host, process, mut relay) = input();
        write(&host, b"typed").unwrap();
        shutdown(host.as_raw_fd(), Shutdown::Write).unwrap();
        assert_eq!(pump(&mut relay), Flow::Ended);
        drop(relay);
        let mut got = [0; 16];
        assert_eq!(read(&process, &mut got).unwrap(), 5);
        assert_eq!(read(&process, &mut got).unwrap(), 0);
    }

    #[test]
    fn a_process_that_closes_stdin_is_told_to_the_host() {
        let (host, process, mut relay) = input();
        drop(process);
        assert_eq!(pump(&mut relay), Flow::Ended);
        drop(relay);
        assert_eq!(read(&host, &mut [0; 16]).unwrap(), 0);
        assert_eq!(send(host.as_raw_fd(), b"x", MsgFlags::MSG_NOSIGNAL), Err(Errno::EPIPE));
    }
}
