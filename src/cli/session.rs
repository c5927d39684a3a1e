//! A session with a process in a container: moves this process's stdio and signals there and back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use moat::monitor::Connection;
use moat::monitor::wire::{ClientMessage, MonitorMessage};
use moat_protocol::output::{self, OUTPUT_HEADER, Source};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use super::detach_keys::{DetachKeys, Watcher};
use super::terminal::{self, RawMode};

/// How a session is held.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Whether this process's terminal takes the process's place: every key goes there.
    pub terminal: bool,
    /// Whether signals are passed on to the process.
    pub signals: bool,
    /// What leaves the terminal.
    pub detach_keys: DetachKeys,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The process ended.
    Exited {
        /// Docker's exit code.
        code: u8,
        /// What went wrong outside the process.
        error: Option<String>,
    },
    /// It could not be started.
    Failed {
        /// Docker's exit code.
        code: u8,
        /// What was asked and what was wrong.
        message: String,
    },
    /// The user left; the process goes on.
    Detached,
}

/// The signals that are passed on to the process, as Docker passes them: all that end or inform a process, but not
/// those about children, the terminal's stop and the kernel's own.
const FORWARDED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
];

/// How many interrupts a user sends who wants out, whatever the process does with them.
const IMPATIENCE: u32 = 3;

/// How long output may stay away once the process has ended, while others still hold its pipes open.
const AFTERMATH: Duration = Duration::from_secs(2);

/// A session that was asked for.
pub struct Session {
    connection: Connection,
    manners: Manners,
}

impl Session {
    /// Asks for a session with `request`, an attach or an exec.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn begin(
        mut connection: Connection,
        request: &ClientMessage,
        manners: Manners,
    ) -> anyhow::Result<Self> {
        // Blocked before any thread exists, so that only the thread that waits for them gets them.
        let forwarded = if manners.signals { &FORWARDED[..] } else { &[] };
        let signals: SigSet = forwarded.iter().copied().chain([Signal::SIGWINCH]).collect();
        signals.thread_block()?;
        connection.send(request).context("the container's monitor ended at once")?;
        let sender = connection.try_clone()?;
        let terminal = manners.terminal;
        std::thread::spawn(move || forward_signals(signals, sender, terminal));
        Ok(Self { connection, manners })
    }

    /// Waits until the process runs, and leaves it to itself.
    ///
    /// # Errors
    /// When it could not be started (the error says why), or the monitor is lost.
    pub fn started(mut self) -> anyhow::Result<Option<End>> {
        Self::answer(receive(&mut self.connection)?.0)
    }

    /// What the monitor's first answer means for somebody who only wants the process to run: nothing when it does.
    ///
    /// # Errors
    /// When the request is refused.
    pub fn answer(message: MonitorMessage) -> anyhow::Result<Option<End>> {
        match message {
            MonitorMessage::Started { .. } => Ok(None),
            other => end(other).map(Some),
        }
    }

    /// Carries the process's streams until it has ended and all of its output is written, or the user leaves.
    ///
    /// # Errors
    /// When the request is refused, or the monitor is lost.
    pub fn carry(mut self) -> anyhow::Result<End> {
        let (message, descriptors) = receive(&mut self.connection)?;
        let MonitorMessage::Started { output, stdin, terminal, stdin_ends } = message else {
            return end(message);
        };
        let mut descriptors = descriptors.into_iter().map(UnixStream::from);
        let output = output.then(|| descriptors.next()).flatten();
        let stdin = stdin.then(|| descriptors.next()).flatten();
        let raw = match self.manners.terminal && terminal && stdin.is_some() {
            true => Some(RawMode::enter()?),
            false => None,
        };
        if let Some(stdin) = stdin {
            let keys = raw.is_some().then(|| Watcher::new(self.manners.detach_keys.clone()));
            let sender = self.connection.try_clone()?;
            std::thread::spawn(move || send_input(stdin, stdin_ends, keys, sender));
        }
        let output = match output {
            Some(stream) => Some(Output::begin(stream, terminal, self.connection.try_clone()?)?),
            None => None,
        };
        let (message, _) = receive(&mut self.connection)?;
        let end = end(message)?;
        if end != End::Detached
            && let Some(output) = output
        {
            output.finish()?;
        }
        drop(raw);
        Ok(end)
    }
}

fn receive(connection: &mut Connection) -> anyhow::Result<(MonitorMessage, Vec<OwnedFd>)> {
    connection
        .receive()
        .context("lost the container's monitor; 'moat ps -a' tells what became of the container")
}

fn end(message: MonitorMessage) -> anyhow::Result<End> {
    match message {
        MonitorMessage::Exited { code, error } => Ok(End::Exited { code, error }),
        MonitorMessage::Failed { code, message } => Ok(End::Failed { code, message }),
        MonitorMessage::Done => Ok(End::Detached),
        MonitorMessage::Refused { message } => bail!(message),
        other => bail!("the container's monitor answered something else: {other:?}"),
    }
}

/// A thread that writes what the process writes.
struct Output {
    thread: JoinHandle<()>,
    /// Closed when the process has ended.
    ended: UnixStream,
}

impl Output {
    fn begin(stream: UnixStream, terminal: bool, mut connection: Connection) -> io::Result<Self> {
        let (ended, ending) = UnixStream::pair()?;
        let source = Patient { stream, ending };
        let thread = std::thread::spawn(move || {
            let copied = if terminal { copy(source, io::stdout()) } else { write_frames(source) };
            // A stream that breaks off has ended.
            if copied.is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
                let _ = connection.send(&ClientMessage::Hangup);
            }
        });
        Ok(Self { thread, ended })
    }

    fn finish(self) -> anyhow::Result<()> {
        drop(self.ended);
        self.thread.join().map_err(|_| anyhow::anyhow!("lost the container's output"))
    }
}

/// A stream that ends when the other side closes it, or when the process has ended and nothing comes for a while.
struct Patient {
    stream: UnixStream,
    ending: UnixStream,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut patience = PollTimeout::NONE;
        loop {
            let mut events = vec![PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
            if patience.is_none() {
                events.push(PollFd::new(self.ending.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut events, patience) {
                Ok(0) => return Ok(0),
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
                Ok(_) => {}
            }
            if events[0].any().unwrap_or(false) {
                return self.stream.read(buffer);
            }
            patience = PollTimeout::try_from(AFTERMATH).unwrap_or(PollTimeout::MAX);
        }
    }
}

/// Writes each frame's bytes to where they belong.
fn write_frames(mut source: impl Read) -> io::Result<()> {
    let mut buffer = vec![0; output::MAX_OUTPUT];
    loop {
        let mut header = [0; OUTPUT_HEADER];
        match source.read_exact(&mut header) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let (stream, length) = output::parse(header).map_err(io::Error::other)?;
        source.read_exact(&mut buffer[..length])?;
        match stream {
            Source::Stdout => write_all(io::stdout(), &buffer[..length])?,
            Source::Stderr => write_all(io::stderr(), &buffer[..length])?,
        }
    }
}

fn write_all(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => write_all(&mut to, &buffer[..length])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Sends this process's stdin until it or the other end is closed, or the user leaves.
fn send_input(stream: UnixStream, ends: bool, keys: Option<Watcher>, mut connection: Connection) {
    // Not io::stdin(): it would wait for whole buffers, and keep what it read.
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else { return };
    let left = match keys {
        // A process that reads no more goes on all the same.
        None => {
            let _ = copy(File::from(stdin), &stream);
            false
        }
        Some(keys) => type_until_left(File::from(stdin), &stream, keys).unwrap_or(false),
    };
    if left {
        // A monitor that is gone has let go of this client itself.
        let _ = connection.send(&ClientMessage::Detach);
    } else if ends {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}

/// Sends what is typed; true when the keys to leave were.
fn type_until_left(mut from: File, mut to: &UnixStream, mut keys: Watcher) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let (passed, left) = keys.pass(&buffer[..length]);
        if left {
            return Ok(true);
        }
        to.write_all(&passed)?;
    }
}

/// Passes signals on to the process, and the terminal's size when it changes. What comes before the process runs waits
/// in the connection until it does: the container is not left behind by a user who wanted it to end.
fn forward_signals(signals: SigSet, mut connection: Connection, terminal: bool) {
    let mut interrupts = 0;
    while let Ok(signal) = signals.wait() {
        let message = match signal {
            Signal::SIGWINCH => match terminal::size() {
                Some(size) if terminal => ClientMessage::Resize { size },
                _ => continue,
            },
            Signal::SIGINT | Signal::SIGTERM => {
                interrupts += 1;
                if interrupts >= IMPATIENCE {
                    give_up(signal);
                }
                ClientMessage::Kill { signal: signal as i32 }
            }
            other => ClientMessage::Kill { signal: other as i32 },
        };
        if connection.send(&message).is_err() {
            return;
        }
    }
}

/// Ends this client; the container goes on.
fn give_up(signal: Signal) -> ! {
    RawMode::leave();
    eprintln!("moat: got {signal}, leaving the container to itself; 'moat ps' shows it");
    std::process::exit(128 + signal as i32)
}
