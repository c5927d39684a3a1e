//! The streams of a process: connections to the host on one side, pipes or a terminal on the other.

use std::os::fd::{AsFd, OwnedFd};

use moat_protocol::output::Source;
use moat_protocol::{STREAM_PORT, Stream, StreamHello, StreamToken, frame};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::pipe2;

use crate::dial::Dial;
use crate::failure::Failure;
use crate::streams::{End, Relay};

/// The streams that a process is to have.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Whether its input comes from the host; if not, it reads the end of file.
    pub stdin: bool,
    /// Whether its output goes to the host; if not, it is thrown away.
    pub output: bool,
    /// Whether both are a terminal.
    pub terminal: bool,
}

/// A process's descriptors 0 to 2, if they are no terminal. A missing one becomes the null device.
#[derive(Default)]
pub struct Stdio {
    /// Its standard input.
    pub stdin: Option<OwnedFd>,
    /// Its standard output.
    pub stdout: Option<OwnedFd>,
    /// Its standard error.
    pub stderr: Option<OwnedFd>,
}

/// The stream connections to the host.
pub struct HostEnds {
    stdin: Option<OwnedFd>,
    output: Option<OwnedFd>,
}

impl HostEnds {
    /// Opens the connections.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn dial(dialer: &dyn Dial, token: &StreamToken, wanted: Wanted) -> Result<Self, Failure> {
        let dial = |wanted: bool, stream| wanted.then(|| connect(dialer, stream, token)).transpose();
        Ok(Self { output: dial(wanted.output, Stream::Output)?, stdin: dial(wanted.stdin, Stream::Stdin)? })
    }

    /// Makes the process's pipes, and the relays between them and the host.
    ///
    /// # Errors
    /// Those of pipe2(2).
    pub fn with_pipes(self) -> nix::Result<(Stdio, Vec<Relay>)> {
        let mut stdio = Stdio::default();
        let mut relays = Vec::new();
        if let Some(connection) = self.output {
            let (stdout, out) = pipe2(OFlag::O_CLOEXEC)?;
            let (stderr, err) = pipe2(OFlag::O_CLOEXEC)?;
            (stdio.stdout, stdio.stderr) = (Some(out), Some(err));
            let sources = [(Source::Stdout, stdout), (Source::Stderr, stderr)];
            relays.push(Relay::output(sources, connection)?);
        }
        if let Some(connection) = self.stdin {
            let (source, sink) = pipe2(OFlag::O_CLOEXEC)?;
            stdio.stdin = Some(source);
            relays.push(Relay::new(End::Host(connection), End::Pipe(sink))?);
        }
        Ok((stdio, relays))
    }

    /// Connects a terminal. Its output is read even when the host does not want it, or its processes would wait for
    /// ever.
    ///
    /// # Errors
    /// Those of dup(2) and, where there is no output, open(2).
    pub fn with_terminal(self, master: &OwnedFd) -> nix::Result<Vec<Relay>> {
        let copy = || nix::unistd::dup(master.as_fd()).map(End::Terminal);
        let sink = match self.output {
            Some(connection) => End::Host(connection),
            None => End::Pipe(open("/dev/null", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?),
        };
        let mut relays = vec![Relay::new(copy()?, sink)?];
        if let Some(stdin) = self.stdin {
            relays.push(Relay::new(End::Host(stdin), copy()?)?);
        }
        Ok(relays)
    }
}

/// Opens a stream connection to the host and tells the host what it is for.
///
/// # Errors
/// When the host does not answer.
pub fn connect(dialer: &dyn Dial, stream: Stream, token: &StreamToken) -> Result<OwnedFd, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::setup(format!("cannot connect {stream:?} to the host: {error}"))
    };
    let connection = dialer.dial(STREAM_PORT).map_err(|error| failed(&error))?;
    let mut connection = std::fs::File::from(connection);
    let hello = StreamHello { stream, token: token.clone() };
    frame::write(&mut connection, &hello).map_err(|error| failed(&error))?;
    Ok(connection.into())
}
