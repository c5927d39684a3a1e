//! The stdio streams between the container's processes and the host.
//!
//! A relay connects non-blocking descriptors. It reads into one buffer that all relays share, and keeps what its sink
//! does not take at once, up to one buffer; then it reads nothing more. The rest waits in the pipe or in vsock's credit,
//! and an idle stream holds nothing. splice(2) would not help: vsock has no zero-copy path from a pipe, and a terminal
//! none at all.
//!
//! The stdout and stderr of a process share one connection, framed as [`output`] has it. Pipes do not tell what was
//! written first, so the order is that in which the agent is woken: it runs before everything else in the guest
//! ([`crate::sys::process::take_precedence`]), reads what woke it, once, and waits again. Only where the host is behind
//! by more than a buffer, or where writers run on several processors at once, is there no order to keep.

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

/// With less room than this in its buffer a relay reads nothing: a header, and what a process writes in one piece.
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

/// Where a relay reads.
struct Source {
    end: End,
    /// What each read is announced as; without it bytes go out as they come in.
    label: Option<output::Source>,
}

/// One stream: what comes in at its sources goes out at its sink.
pub struct Relay {
    /// Those that have ended are gone.
    sources: [Option<Source>; 2],
    /// Which of them was read last: where the host is slow the other one is next.
    last: usize,
    sink: End,
    /// What the sink has not taken yet.
    pending: Vec<u8>,
    /// The host will send nothing more on the sink's connection. It need not be told again.
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

    /// Whether nothing will come any more; dropping it closes what is left of its ends.
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

    /// What to wait for at the sources. Nothing while the sink is behind: not even an end, or the wait would be none.
    pub fn source_interests(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let has_room = self.room() >= LEAST_ROOM;
        let order = [1 - self.last, self.last].into_iter().filter(move |_| has_room);
        order.filter_map(|at| Some((at, self.sources[at].as_ref()?.end.fd())))
    }

    fn room(&self) -> usize {
        BUFFER_SIZE - self.pending.len()
    }

    /// What to wait for at the sink: room, or that it is closed.
    pub fn sink_interest(&self) -> (BorrowedFd<'_>, Events) {
        let room = if self.pending.is_empty() { 0 } else { poll::OUT };
        let closed =
            if self.sink_half_closed || !matches!(self.sink, End::Host(_)) { 0 } else { poll::RDHUP };
        (self.sink.fd(), room | closed)
    }

    /// Delivers what is pending, unless `events`, which the wait found at the sink, say that nobody will take it.
    pub fn sink_is_up(&mut self, events: Events) {
        if self.sink_is_gone(events) {
            return self.give_up();
        }
        let pending = std::mem::take(&mut self.pending);
        self.deliver(&pending);
        self.end_with_the_sources();
    }

    /// Moves what one read of a source gives.
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
            // The end. A terminal says EIO when the last process has closed it, a connection may have been reset.
            _ => {
                self.sources[which] = None;
                self.end_with_the_sources();
            }
        }
    }

    /// Writes what the sink takes and keeps the rest; all of it behind what has been kept before.
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

    /// With the last source the sink ends too, once everything has been delivered.
    fn end_with_the_sources(&mut self) {
        if self.over || !self.pending.is_empty() || self.sources.iter().any(Option::is_some) {
            return;
        }
        self.over = true;
        match &self.sink {
            End::Host(fd) => {
                // The host sees the end even if a copy of the connection lives on somewhere.
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
            }
            End::Terminal(fd) => self.type_end_of_file(fd.as_fd()),
            // Closing it is all there is to do.
            End::Pipe(_) => {}
        }
    }

    /// The sink is closed: the sources are told by closing them too.
    fn give_up(&mut self) {
        self.over = true;
        for source in self.sources.iter().flatten() {
            if let End::Host(fd) = &source.end {
                let _ = shutdown(fd.as_raw_fd(), Shutdown::Both);
            }
        }
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
mod tests;
