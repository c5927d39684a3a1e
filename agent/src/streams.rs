//! The stdio streams between the container's processes and the host.
//!
//! A relay connects non-blocking descriptors. It reads into one buffer that all relays share, and keeps what its sink
//! does not take at once, up to the size of one buffer. Then it stops reading: the rest waits in the pipe or in vsock's
//! credit. An idle stream holds no memory. splice(2) would not help: vsock has no zero-copy path from a pipe, and a
//! terminal has none at all.
//!
//! The stdout and stderr of a process share one connection, in the frames of [`output`]. Pipes do not tell what was
//! written first, so the agent keeps the order in which it is woken: it runs before all other processes of the guest
//! ([`crate::sys::process::take_precedence`]), reads once what woke it, and waits again. The order is lost only where
//! the host is behind by more than a buffer, or writers run on several processors at once.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use moat_protocol::output::{self, MAX_OUTPUT, OUTPUT_HEADER};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, tcgetattr};
use nix::unistd::{read, write};

use crate::sys::poll::{self, Events};

/// The size of the shared buffer in bytes: a header, and a pipe's capacity, so that one read empties it.
pub const BUFFER_SIZE: usize = OUTPUT_HEADER + MAX_OUTPUT;

/// A relay with less room in its buffer than this does not read: a header, and what a process can write in one piece.
const LEAST_ROOM: usize = OUTPUT_HEADER + libc::PIPE_BUF;

/// One end of a relay.
pub enum End {
    /// A connection to the host.
    Host(OwnedFd),
    /// The agent's end of one of the process's pipes, or the null device.
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

/// An end that a relay reads from.
struct Source {
    end: End,
    /// The source in the header of each read. Without it bytes go out as they come in.
    label: Option<output::Source>,
}

/// One stream: what comes in at its sources goes out at its sink.
pub struct Relay {
    /// A source that has ended is `None`.
    sources: [Option<Source>; 2],
    /// Which of them was read last. Where the host is slow, the other one is next.
    last: usize,
    sink: End,
    /// What the sink has not taken yet.
    pending: Vec<u8>,
    /// The host sends nothing more on the sink's connection. This event is not waited for again.
    sink_half_closed: bool,
    is_terminal_output: bool,
    /// Whether the last byte that went to a terminal ended a line.
    at_line_start: bool,
    over: bool,
}

impl Relay {
    /// Connects two ends and makes them non-blocking.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn new(source: End, sink: End) -> nix::Result<Self> {
        Self::connect([Some(Source { end: source, label: None }), None], sink)
    }

    /// Connects a process's two outputs with the host.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn output(pipes: [(output::Source, OwnedFd); 2], host: OwnedFd) -> nix::Result<Self> {
        let source = |(label, pipe)| Some(Source { end: End::Pipe(pipe), label: Some(label) });
        Self::connect(pipes.map(source), End::Host(host))
    }

    fn connect(sources: [Option<Source>; 2], sink: End) -> nix::Result<Self> {
        sources.iter().flatten().try_for_each(|source| set_nonblocking(source.end.fd()))?;
        set_nonblocking(sink.fd())?;
        let is_terminal_output =
            sources.iter().flatten().any(|source| matches!(source.end, End::Terminal(_)));
        Ok(Self {
            sources,
            last: 1,
            sink,
            pending: Vec::new(),
            sink_half_closed: false,
            is_terminal_output,
            at_line_start: true,
            over: false,
        })
    }

    /// Whether it is finished. Dropping it closes the ends that are left.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether one of the ends is the process's terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal_output() || matches!(self.sink, End::Terminal(_))
    }

    /// Whether this is the output of the process's terminal.
    pub fn is_terminal_output(&self) -> bool {
        self.is_terminal_output
    }

    /// The sources to wait on. None while the sink is behind: a source at its end would end every wait at once.
    pub fn source_interests(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let has_room = self.room() >= LEAST_ROOM;
        let order = [1 - self.last, self.last].into_iter().filter(move |_| has_room);
        order.filter_map(|at| Some((at, self.sources[at].as_ref()?.end.fd())))
    }

    fn room(&self) -> usize {
        BUFFER_SIZE - self.pending.len()
    }

    /// The sink, and the events to wait for there: room, or the end of the connection.
    pub fn sink_interest(&self) -> (BorrowedFd<'_>, Events) {
        let room = if self.pending.is_empty() { 0 } else { poll::OUT };
        let closed =
            if self.sink_half_closed || !matches!(self.sink, End::Host(_)) { 0 } else { poll::RDHUP };
        (self.sink.fd(), room | closed)
    }

    /// Delivers what is pending, unless the `events` that the wait found at the sink say that it is gone.
    pub fn sink_is_up(&mut self, events: Events) {
        if self.sink_is_gone(events) {
            return self.give_up();
        }
        let pending = std::mem::take(&mut self.pending);
        self.deliver(&pending);
        self.end_with_the_sources();
    }

    /// Reads once from a source and delivers the bytes.
    pub fn source_is_up(&mut self, which: usize, buffer: &mut [u8]) {
        let room = self.room();
        if self.over || room < LEAST_ROOM {
            return;
        }
        let Some(source) = self.sources.get(which).and_then(Option::as_ref) else { return };
        self.last = which;
        match read(source.end.fd(), &mut buffer[OUTPUT_HEADER..room]) {
            Ok(count) if count > 0 => {
                let start = match source.label {
                    Some(label) => {
                        buffer[..OUTPUT_HEADER].copy_from_slice(&output::header(label, count));
                        0
                    }
                    None => OUTPUT_HEADER,
                };
                self.deliver(&buffer[start..OUTPUT_HEADER + count]);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The end. A terminal gives EIO when the last process has closed it; a connection may have been reset.
            _ => {
                self.sources[which] = None;
                self.end_with_the_sources();
            }
        }
    }

    /// Writes what the sink takes and keeps the rest. While earlier bytes are kept, it keeps all.
    fn deliver(&mut self, mut bytes: &[u8]) {
        while self.pending.is_empty() && !bytes.is_empty() {
            match write(self.sink.fd(), bytes) {
                Ok(count) => {
                    self.at_line_start = bytes.get(count.wrapping_sub(1)) == Some(&b'\n');
                    bytes = &bytes[count..];
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => return self.give_up(),
            }
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Whether the sink's other side will never read again.
    fn sink_is_gone(&mut self, events: Events) -> bool {
        if events & poll::GONE != 0 {
            return true;
        }
        if events & poll::RDHUP == 0 {
            return false;
        }
        // The host has ended its half of the connection, as it may, or closed the whole. vsock's poll(2) does not tell
        // which, but sending zero bytes does.
        self.sink_half_closed = true;
        let nothing = send(self.sink.fd().as_raw_fd(), &[], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        matches!(nothing, Err(Errno::EPIPE | Errno::ENOTCONN | Errno::ECONNRESET))
    }

    /// With the last source the sink ends too, once everything has been delivered.
    fn end_with_the_sources(&mut self) {
        if self.over || !self.pending.is_empty() || self.sources.iter().any(Option::is_some) {
            return;
        }
        self.over = true;
        match &self.sink {
            End::Host(fd) => {
                // The host sees the end even if a child holds a copy of the connection.
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
            }
            End::Terminal(fd) => self.type_end_of_file(fd.as_fd()),
            // The end is told by closing it.
            End::Pipe(_) => {}
        }
    }

    /// Ends the relay because its sink is closed. Closing the sources tells their other sides.
    fn give_up(&mut self) {
        self.over = true;
        for source in self.sources.iter().flatten() {
            if let End::Host(fd) = &source.end {
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Both);
            }
        }
    }

    /// Types a terminal's character for the end of input. In the middle of a line the first one only ends the line, so
    /// it is typed twice.
    fn type_end_of_file(&self, master: BorrowedFd<'_>) {
        let Ok(settings) = tcgetattr(master) else { return };
        if !settings.local_flags.contains(LocalFlags::ICANON) {
            return;
        }
        let character = settings.control_chars[SpecialCharacterIndices::VEOF as usize];
        let times = if self.at_line_start { 1 } else { 2 };
        // A terminal that does not take it has a full line waiting that no process reads.
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
mod tests;
