//! A session with a process in a container: moves this process's stdio and signals there and back.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::JoinHandle;

use anyhow::anyhow;
use moat_engine::output::{Ended, Output, Source};
use moat_engine::session::{Control, End, Opened, Session};
use nix::sys::signal::{SigSet, Signal};

use super::detach_keys::{DetachKeys, Watcher};
use super::terminal::{self, RawMode};

/// How a session is held.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Whether this process's terminal takes the process's place: every key goes there.
    pub terminal: bool,
    /// Whether signals are passed on to the process.
    pub signals: bool,
    /// What leaves the terminal.
    pub detach_keys: DetachKeys,
    /// The one stream of its output that is shown; both when absent.
    pub only: Option<Source>,
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

/// How many interrupts a user sends who wants out, even if the process ignores them.
const IMPATIENCE: u32 = 3;

/// Blocks the signals that a session passes on. Done before its request is sent and before any thread exists, so that only
/// the thread that waits for them gets them, and none is lost.
///
/// # Errors
/// When the kernel refuses.
pub fn block_signals(options: &SessionOptions) -> anyhow::Result<SigSet> {
    let forwarded = if options.signals { &FORWARDED[..] } else { &[] };
    let signals: SigSet = forwarded.iter().copied().chain([Signal::SIGWINCH]).collect();
    signals.thread_block()?;
    Ok(signals)
}

/// Passes signals on to the session's process, and the terminal's size, until this process ends.
///
/// # Errors
/// When this process is out of descriptors.
pub fn pass_signals_on(session: &Session, signals: SigSet, options: &SessionOptions) -> anyhow::Result<()> {
    let control = session.control()?;
    let terminal = options.terminal;
    std::thread::spawn(move || forward_signals(signals, control, terminal));
    Ok(())
}

/// Carries the process's streams until it has ended and all of its output is written, or the user leaves.
///
/// # Errors
/// When the session is refused, or the monitor is lost.
pub fn carry(mut session: Session, options: &SessionOptions) -> anyhow::Result<End> {
    let streams = match session.open()? {
        Opened::Running(streams) => streams,
        Opened::Ended(end) => return Ok(end),
    };
    let raw = match options.terminal && streams.terminal && streams.stdin.is_some() {
        true => Some(RawMode::enter()?),
        false => None,
    };
    if let Some(stdin) = streams.stdin {
        let keys = raw.is_some().then(|| Watcher::new(options.detach_keys.clone()));
        let control = session.control()?;
        std::thread::spawn(move || send_input(stdin, streams.stdin_ends, keys, control));
    }
    let writer = streams.output.map(|output| Writer::begin(output, &session, options.only)).transpose()?;
    let end = session.wait()?;
    if end != End::Detached
        && let Some(writer) = writer
    {
        writer.finish()?;
    }
    drop(raw);
    Ok(end)
}

/// Tells the user how a process ended, as an exit code and, if something went wrong, a message. `asked` is what cannot be
/// done when it failed to start.
pub fn report(end: End, asked: impl Display) -> ExitCode {
    match end {
        End::Detached => ExitCode::SUCCESS,
        End::Exited { code, error } => {
            if let Some(error) = error {
                super::complain(error);
            }
            ExitCode::from(code)
        }
        End::Failed { code, message } => {
            super::complain(format_args!("cannot {asked}: {message}"));
            ExitCode::from(code)
        }
    }
}

/// A thread that writes what the process writes.
struct Writer {
    thread: JoinHandle<()>,
    /// Dropped when the process has ended.
    ended: Ended,
}

impl Writer {
    fn begin(mut output: Output, session: &Session, only: Option<Source>) -> anyhow::Result<Self> {
        let mut control = session.control()?;
        let ended = output.ended();
        let thread = std::thread::spawn(move || {
            // A stream that breaks off has ended.
            if write_out(&mut output, only).is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
                let _ = control.hang_up();
            }
        });
        Ok(Self { thread, ended })
    }

    fn finish(self) -> anyhow::Result<()> {
        drop(self.ended);
        self.thread.join().map_err(|_| anyhow!("lost the container's output"))
    }
}

/// Writes each piece of output to where it belongs, `only` those of one source if there is one.
fn write_out(output: &mut Output, only: Option<Source>) -> io::Result<()> {
    while let Some((source, bytes)) = output.next_piece()? {
        if only.is_some_and(|only| only != source) {
            continue;
        }
        match source {
            Source::Stdout => write_all(io::stdout(), bytes)?,
            Source::Stderr => write_all(io::stderr(), bytes)?,
        }
    }
    Ok(())
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
fn send_input(stream: UnixStream, ends: bool, keys: Option<Watcher>, mut control: Control) {
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
        let _ = control.detach();
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
fn forward_signals(signals: SigSet, mut control: Control, terminal: bool) {
    let mut interrupts = 0;
    while let Ok(signal) = signals.wait() {
        let told = match signal {
            Signal::SIGWINCH => match terminal::size() {
                Some(size) if terminal => control.resize(size),
                _ => continue,
            },
            Signal::SIGINT | Signal::SIGTERM => {
                interrupts += 1;
                if interrupts >= IMPATIENCE {
                    give_up(signal);
                }
                control.kill(signal as i32)
            }
            other => control.kill(other as i32),
        };
        if told.is_err() {
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
