//! One process that the host asked for, seen from the agent: its start, its streams, its terminal, its end.

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
    /// Its number; nothing once it has been reaped.
    pub pid: Option<Pid>,
    start: Start,
    relays: Vec<Relay>,
    /// What a terminal's streams are to be connected to as soon as there is a terminal.
    awaited: Option<HostEnds>,
    terminal: Option<OwnedFd>,
    /// A size that was asked for before there was a terminal.
    size: Option<TerminalSize>,
}

/// How far the start has come.
enum Start {
    Underway(StatusReader),
    Done,
    Failed,
}

/// How a start came out.
pub enum News {
    /// The process runs what it was asked to run.
    Started,
    /// It could not.
    Failed(Failure),
}

/// What of a process can be waited on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// How its start came out: [`Process::take_news`].
    News,
    /// The sink of the relay with this number.
    Sink(usize),
    /// One of the sources of that relay.
    Source(usize, usize),
}

impl Process {
    /// Connects the streams and has `birth` fork the process. Whether that works out is told by [`Self::take_news`].
    ///
    /// # Errors
    /// When it cannot even be tried.
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

    /// Whether it never came to run what it was asked to.
    pub fn failed(&self) -> bool {
        matches!(self.start, Start::Failed)
    }

    /// Whether it has ended and everything that it wrote has been delivered.
    pub fn is_over(&self) -> bool {
        self.pid.is_none() && self.relays.is_empty()
    }

    /// What to wait on for news of its start, while there can be any.
    pub fn news_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.start {
            Start::Underway(reader) => Some(reader.as_fd()),
            Start::Done | Start::Failed => None,
        }
    }

    /// What to wait on for the streams.
    pub fn stream_interests(&self) -> impl Iterator<Item = (Part, BorrowedFd<'_>, Events)> {
        self.relays.iter().enumerate().flat_map(|(at, relay)| {
            let (sink, events) = relay.sink_interest();
            let sources =
                relay.source_interests().map(move |(which, fd)| (Part::Source(at, which), fd, poll::IN));
            std::iter::once((Part::Sink(at), sink, events)).chain(sources)
        })
    }

    /// Moves what can be moved of the streams, now that something is up at a part.
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

    /// Lets go of streams that are over. Parts have other numbers afterwards.
    pub fn sweep(&mut self) {
        if self.relays.iter().any(|relay| relay.is_over() && relay.is_terminal_output()) {
            // Nobody sees the terminal any more: with its last descriptor it hangs up, as a line would.
            self.relays.retain(|relay| !relay.is_terminal());
            self.terminal = None;
        }
        self.relays.retain(|relay| !relay.is_over());
    }

    /// How the start came out, once that is known.
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

    /// Sends a signal by number. One that has been reaped has no number here any more, so a recycled one is never hit.
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
