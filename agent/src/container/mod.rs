//! The container: its first process, seen from the agent.

mod capabilities;
mod cgroup;
mod devices;
mod exec;
mod failure;
mod files;
mod init;
mod limits;
mod mounts;
mod options;
mod root;
mod status;
mod terminal;
mod user;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use moat_protocol::guest::ContainerSpec;
use moat_protocol::{ProcessId, STREAM_PORT, Stream, StreamHello, StreamToken, TerminalSize, frame};
use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

pub use cgroup::Cgroup;
pub use failure::Failure;

use crate::dial::Dial;
use crate::serve::Place;
use crate::streams::{End, Relay};
use crate::{kmsg, sys};
use failure::Context;
use status::{Status, StatusReader};

/// The container.
pub struct Container {
    /// The host's name for its first process.
    pub process: ProcessId,
    /// That process; nothing once it has been reaped.
    pub pid: Option<Pid>,
    /// Its control group.
    pub cgroup: Cgroup,
    start: Start,
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

/// What the process that is being started has said.
pub enum News {
    /// Nothing more for now.
    None,
    /// It has a terminal, which is connected by these relays.
    Terminal(Vec<Relay>),
    /// It runs what it was asked to run.
    Started,
    /// It could not.
    Failed(Failure),
}

/// The process's descriptors 0 to 2, where it is not the terminal that takes their place.
#[derive(Default)]
struct Stdio {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// The stream connections to the host.
struct HostEnds {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

impl Container {
    /// Connects the streams and starts the process. Whether that works out is told by [`Self::take_news`].
    ///
    /// # Errors
    /// When it cannot even be tried.
    pub fn start(
        process: ProcessId,
        token: &StreamToken,
        spec: &ContainerSpec,
        dialer: &dyn Dial,
        place: &Place,
    ) -> Result<(Self, Vec<Relay>), Failure> {
        let terminal = spec.process.terminal;
        let dial = |stream| connect(dialer, StreamHello { process, stream, token: token.clone() });
        let host = HostEnds {
            stdout: dial(Stream::Stdout)?,
            stderr: (!terminal).then(|| dial(Stream::Stderr)).transpose()?,
            stdin: spec.open_stdin.then(|| dial(Stream::Stdin)).transpose()?,
        };
        let cgroup = Cgroup::create(&place.cgroup)?;
        let (stdio, relays, awaited) = if terminal {
            (Stdio::default(), Vec::new(), Some(host))
        } else {
            let (stdio, relays) = pipes(host).context("cannot make the process's pipes")?;
            (stdio, relays, None)
        };
        let (reader, writer) = status::channel().context("cannot make a pair of sockets")?;
        let fork = sys::process::fork_into_namespaces(Some(cgroup.as_fd()))
            .context("cannot start a process in new namespaces")?;
        let Some(pid) = fork else { init::run(spec, place, stdio, writer) };
        let start = Start::Underway(reader);
        let container = Self { process, pid: Some(pid), cgroup, start, awaited, terminal: None, size: None };
        Ok((container, relays))
    }

    /// What to wait on for [`Self::take_news`], while there can be any.
    pub fn news_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.start {
            Start::Underway(reader) => Some(reader.as_fd()),
            Start::Done | Start::Failed => None,
        }
    }

    /// Whether the process never came to run what it was asked to.
    pub fn failed(&self) -> bool {
        matches!(self.start, Start::Failed)
    }

    /// The next piece of news from the process that is being started.
    pub fn take_news(&mut self) -> News {
        let Start::Underway(reader) = &self.start else { return News::None };
        match reader.receive() {
            Ok(None) => News::None,
            Ok(Some(Status::Terminal(master))) => match self.connect_terminal(master) {
                Ok(relays) => News::Terminal(relays),
                Err(error) => {
                    kmsg::log(format_args!("cannot connect the terminal: {error}"));
                    News::None
                }
            },
            Ok(Some(Status::Running)) => {
                self.start = Start::Done;
                News::Started
            }
            Ok(Some(Status::Failed(failure))) => {
                self.start = Start::Failed;
                self.awaited = None;
                self.hang_up();
                News::Failed(failure)
            }
            Err(error) => {
                self.start = Start::Failed;
                News::Failed(Failure::setup(format!("lost the process that was being started: {error}")))
            }
        }
    }

    fn connect_terminal(&mut self, master: OwnedFd) -> nix::Result<Vec<Relay>> {
        let Some(host) = self.awaited.take() else { return Ok(Vec::new()) };
        let copy = || master.try_clone().map(End::Terminal).map_err(|_| nix::Error::EMFILE);
        let mut relays = vec![Relay::new(copy()?, End::Host(host.stdout))?];
        if let Some(stdin) = host.stdin {
            relays.push(Relay::new(End::Host(stdin), copy()?)?);
        }
        if let Some(size) = self.size {
            sys::terminal::resize(master.as_fd(), size)?;
        }
        self.terminal = Some(master);
        Ok(relays)
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

    /// Lets go of the terminal.
    pub fn hang_up(&mut self) {
        self.terminal = None;
    }
}

/// Opens a stream connection to the host and says whose it is.
fn connect(dialer: &dyn Dial, hello: StreamHello) -> Result<OwnedFd, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::setup(format!("cannot connect {:?} to the host: {error}", hello.stream))
    };
    let connection = dialer.dial(STREAM_PORT).map_err(|error| failed(&error))?;
    let mut connection = std::fs::File::from(connection);
    frame::write(&mut connection, &hello).map_err(|error| failed(&error))?;
    Ok(connection.into())
}

/// Makes a pipe for each stream: the process's ends, and what carries the agent's ends to the host.
fn pipes(host: HostEnds) -> nix::Result<(Stdio, Vec<Relay>)> {
    let mut stdio = Stdio::default();
    let mut relays = Vec::new();
    let (source, sink) = pipe2(OFlag::O_CLOEXEC)?;
    stdio.stdout = Some(sink);
    relays.push(Relay::new(End::Pipe(source), End::Host(host.stdout))?);
    if let Some(connection) = host.stderr {
        let (source, sink) = pipe2(OFlag::O_CLOEXEC)?;
        stdio.stderr = Some(sink);
        relays.push(Relay::new(End::Pipe(source), End::Host(connection))?);
    }
    if let Some(connection) = host.stdin {
        let (source, sink) = pipe2(OFlag::O_CLOEXEC)?;
        stdio.stdin = Some(source);
        relays.push(Relay::new(End::Host(connection), End::Pipe(sink))?);
    }
    Ok((stdio, relays))
}
