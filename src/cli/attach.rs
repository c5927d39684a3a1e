//! The client's half of an attached container: moves this process's stdio and signals to the monitor and back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use moat::monitor::send_with_descriptors;
use moat::monitor::wire::{ClientMessage, MonitorMessage};
use moat_protocol::frame;
use nix::sys::signal::{SigSet, Signal};

use super::terminal::{self, RawMode};

/// Which of this process's streams are connected.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Stdin.
    pub stdin: bool,
    /// Stdout.
    pub stdout: bool,
    /// Stderr.
    pub stderr: bool,
    /// Whether the process at the other end has a terminal.
    pub terminal: bool,
}

/// A connection to a container's monitor.
pub struct Attachment {
    connection: UnixStream,
    outputs: Vec<JoinHandle<()>>,
    _raw: Option<RawMode>,
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

/// Set once the process can be reached: before that an interrupt ends this client as it would any other program.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Connects this process's `streams` to the monitor at the other end of `connection`.
///
/// # Errors
/// When the monitor is gone, or the terminal cannot be used.
pub fn attach(connection: UnixStream, streams: Streams) -> anyhow::Result<Attachment> {
    // Blocked before any thread exists, so that only the thread that waits for them gets them.
    let signals: SigSet = FORWARDED.into_iter().chain([Signal::SIGWINCH]).collect();
    signals.thread_block()?;

    let (stdin, their_stdin) = pair(streams.stdin)?;
    let (stdout, their_stdout) = pair(streams.stdout)?;
    let (stderr, their_stderr) = pair(streams.stderr)?;
    let size = if streams.terminal { terminal::size() } else { None };
    let message = ClientMessage::Attach {
        stdin: stdin.is_some(),
        stdout: stdout.is_some(),
        stderr: stderr.is_some(),
        size,
    };
    let descriptors: Vec<BorrowedFd<'_>> =
        [&their_stdin, &their_stdout, &their_stderr].into_iter().flatten().map(AsFd::as_fd).collect();
    send_with_descriptors(connection.as_fd(), &frame::encode(&message)?, &descriptors)
        .context("the container's monitor ended at once")?;

    let raw = if streams.terminal && streams.stdin { Some(RawMode::enter()?) } else { None };
    if let Some(stream) = stdin {
        std::thread::spawn(move || send_input(stream));
    }
    let mut outputs = Vec::new();
    if let Some(stream) = stdout {
        outputs.push(std::thread::spawn(move || copy(stream, io::stdout())));
    }
    if let Some(stream) = stderr {
        outputs.push(std::thread::spawn(move || copy(stream, io::stderr())));
    }
    let sender = connection.try_clone()?;
    std::thread::spawn(move || forward_signals(signals, sender, streams.terminal));
    Ok(Attachment { connection, outputs, _raw: raw })
}

impl Attachment {
    /// Waits until the process runs, or could not be started.
    ///
    /// # Errors
    /// When the monitor is lost.
    pub fn started(mut self) -> anyhow::Result<MonitorMessage> {
        self.next()
    }

    /// Waits until the process has ended and all of its output is written.
    ///
    /// # Errors
    /// When the monitor is lost.
    pub fn ended(mut self) -> anyhow::Result<MonitorMessage> {
        loop {
            match self.next()? {
                MonitorMessage::Started => RUNNING.store(true, Ordering::SeqCst),
                end => {
                    for output in self.outputs.drain(..) {
                        if output.join().is_err() {
                            bail!("lost the container's output");
                        }
                    }
                    return Ok(end);
                }
            }
        }
    }

    fn next(&mut self) -> anyhow::Result<MonitorMessage> {
        frame::read(&mut self.connection)
            .context("lost the container's monitor; 'moat ps -a' tells what became of the container")
    }
}

fn pair(wanted: bool) -> io::Result<(Option<UnixStream>, Option<UnixStream>)> {
    if !wanted {
        return Ok((None, None));
    }
    let (ours, theirs) = UnixStream::pair()?;
    Ok((Some(ours), Some(theirs)))
}

/// Sends this process's stdin until it or the other end is closed.
fn send_input(stream: UnixStream) {
    // Not io::stdin(): it would wait for whole buffers, and keep what it read.
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else { return };
    copy(File::from(stdin), &stream);
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

/// Copies until the source ends or nobody reads the target any more.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Passes signals on to the process, and the terminal's size when it changes.
fn forward_signals(signals: SigSet, mut connection: UnixStream, terminal: bool) {
    let mut interrupts = 0;
    while let Ok(signal) = signals.wait() {
        let message = match signal {
            Signal::SIGWINCH => match terminal::size() {
                Some(size) if terminal => ClientMessage::Resize { size },
                _ => continue,
            },
            Signal::SIGINT | Signal::SIGTERM => {
                interrupts += 1;
                if !RUNNING.load(Ordering::SeqCst) || interrupts >= IMPATIENCE {
                    give_up(signal);
                }
                ClientMessage::Signal { signal: signal as i32 }
            }
            other => ClientMessage::Signal { signal: other as i32 },
        };
        let Ok(frame) = frame::encode(&message) else { continue };
        if connection.write_all(&frame).is_err() {
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
