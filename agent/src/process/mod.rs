//! One process that the host asked for, as the agent sees it: its start, streams, terminal and end.

mod status;
mod stdio;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use moat_protocol::{ProcessId, StreamToken, TerminalSize};
use nix::unistd::Pid;

pub use status::StatusWriter;
pub use stdio::{Stdio, Wanted, connect};

use crate::dial::Dial;
use crate::failure::{Context, Failure};
use crate::streams::Relay;
use crate::sys::poll::{self, Events};
use crate::{kmsg, sys};
use status::{Status, StatusReader};
use stdio::HostEnds;

/// A process.
pub struct Process {
    /// The host's name for it.
    pub id: ProcessId,
    /// Its number, until it has been reaped.
    pub pid: Option<Pid>,
    start: Start,
    relays: Vec<Relay>,
    /// The host's ends of a terminal's streams, until the process hands the terminal over.
    awaited: Option<HostEnds>,
    terminal: Option<OwnedFd>,
    /// The last size that was asked for, maybe before there was a terminal.
    size: Option<TerminalSize>,
}

/// How far the start has come.
enum Start {
    Underway(StatusReader),
    Done,
    Failed,
}

/// The result of a start.
pub enum News {
    /// The process runs what it was asked to run.
    Started,
    /// The process could not be started.
    Failed(Failure),
}

/// The parts of a process that can be waited on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The result of its start, see [`Process::take_news`].
    News,
    /// The sink of the relay with this number.
    Sink(usize),
    /// One of the sources of that relay.
    Source(usize, usize),
}

impl Process {
    /// Connects the streams and calls `birth`, which forks the process. [`Self::take_news`] tells whether it starts.
    ///
    /// # Errors
    /// When the streams cannot be connected or the process cannot be made.
    pub fn start(
        id: ProcessId,
        token: &StreamToken,
        wanted: Wanted,
        dialer: &dyn Dial,
        birth: impl FnOnce(Stdio, StatusWriter) -> Result<Pid, Failure>,
    ) -> Result<Self, Failure> {
        let host = HostEnds::dial(dialer, token, wanted)?;
        let (stdio, relays, awaited) = if wanted.terminal {
            (Stdio::default(), Vec::new(), Some(host))
        } else {
            let (stdio, relays) = host.with_pipes().context("cannot make the process's pipes")?;
            (stdio, relays, None)
        };
        let (reader, writer) = status::channel().context("cannot make a pair of sockets")?;
        let pid = Some(birth(stdio, writer)?);
        Ok(Self { id, pid, start: Start::Underway(reader), relays, awaited, terminal: None, size: None })
    }

    /// Whether it has started and not ended.
    pub fn is_running(&self) -> bool {
        self.pid.is_some() && matches!(self.start, Start::Done)
    }

    /// Whether its start failed.
    pub fn failed(&self) -> bool {
        matches!(self.start, Start::Failed)
    }

    /// Whether it has been reaped and its output has been delivered.
    pub fn is_over(&self) -> bool {
        self.pid.is_none() && self.relays.is_empty()
    }

    /// The descriptor to wait on for the result of its start, until that is known.
    pub fn news_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.start {
            Start::Underway(reader) => Some(reader.as_fd()),
            Start::Done | Start::Failed => None,
        }
    }

    /// The descriptors to wait on for the streams.
    pub fn stream_interests(&self) -> impl Iterator<Item = (Part, BorrowedFd<'_>, Events)> {
        self.relays.iter().enumerate().flat_map(|(at, relay)| {
            let (sink, events) = relay.sink_interest();
            let sources =
                relay.source_interests().map(move |(which, fd)| (Part::Source(at, which), fd, poll::IN));
            std::iter::once((Part::Sink(at), sink, events)).chain(sources)
        })
    }

    /// Moves bytes of the streams after `events` at a part.
    pub fn pump(&mut self, part: Part, events: Events, buffer: &mut [u8]) {
        match part {
            Part::News => {}
            Part::Sink(at) => {
                if let Some(relay) = self.relays.get_mut(at) {
                    relay.sink_is_up(events);
                }
            }
            Part::Source(at, which) => {
                if let Some(relay) = self.relays.get_mut(at) {
                    relay.source_is_up(which, buffer);
                }
            }
        }
    }

    /// Drops streams that are over. The numbers of parts change.
    pub fn sweep(&mut self) {
        if self.relays.iter().any(|relay| relay.is_over() && relay.is_terminal_output()) {
            // The host no longer reads the terminal. With its last descriptor it hangs up, as a line would.
            self.relays.retain(|relay| !relay.is_terminal());
            self.terminal = None;
        }
        self.relays.retain(|relay| !relay.is_over());
    }

    /// The result of the start, once it is known.
    pub fn take_news(&mut self) -> Option<News> {
        loop {
            let Start::Underway(reader) = &self.start else { return None };
            match reader.receive() {
                Ok(None) => return None,
                Ok(Some(Status::Terminal(master))) => {
                    if let Err(error) = self.connect_terminal(master) {
                        kmsg::log(format_args!("cannot connect the terminal: {error}"));
                    }
                }
                Ok(Some(Status::Running)) => {
                    self.start = Start::Done;
                    return Some(News::Started);
                }
                Ok(Some(Status::Failed(failure))) => return Some(self.fail(failure)),
                Err(error) => {
                    let message = format!("lost the process that was being started: {error}");
                    return Some(self.fail(Failure::setup(message)));
                }
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> News {
        self.start = Start::Failed;
        self.awaited = None;
        self.terminal = None;
        self.relays.clear();
        News::Failed(failure)
    }

    fn connect_terminal(&mut self, master: OwnedFd) -> nix::Result<()> {
        let Some(host) = self.awaited.take() else { return Ok(()) };
        self.relays = host.with_terminal(&master)?;
        if let Some(size) = self.size {
            sys::terminal::resize(master.as_fd(), size)?;
        }
        self.terminal = Some(master);
        Ok(())
    }

    /// Sends a signal by number. A process that has been reaped has no number here, so a recycled number is never hit.
    pub fn signal(&self, signal: i32) {
        let Some(pid) = self.pid else { return };
        if let Err(error) = sys::process::kill(pid, signal) {
            kmsg::log(format_args!("cannot send signal {signal}: {error}"));
        }
    }

    /// Sets the terminal's size, if there is one.
    pub fn resize(&mut self, size: TerminalSize) {
        self.size = Some(size);
        if let Some(terminal) = &self.terminal
            && let Err(error) = sys::terminal::resize(terminal.as_fd(), size)
        {
            kmsg::log(format_args!("cannot resize the terminal: {error}"));
        }
    }
}
