//! The only place that starts threads. Each thread has a kind, and the kind decides which system calls it may make.

use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread::{Builder, JoinHandle};

use crate::syscalls::Syscalls;

/// What a thread does. Each kind has a seccomp filter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThreadKind {
    /// The first thread: builds the VM, then waits for the reason to stop.
    Main,
    /// Runs one virtual CPU and answers its exits, register writes to virtio devices among them.
    Vcpu,
    /// The worker of a device, with the calls that its device makes.
    Worker(&'static Syscalls),
}

impl ThreadKind {
    /// A name for messages: a worker has that of its device.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Vcpu => "vcpu",
            Self::Worker(syscalls) => syscalls.device,
        }
    }
}

/// Restricts the calling thread to the system calls that its kind needs.
pub type Filter = fn(ThreadKind) -> io::Result<()>;

/// The stack of every thread, in bytes. No thread recurses or keeps buffers on its stack; a panic's message needs the
/// most. Pages that are never touched cost nothing.
const STACK_SIZE: usize = 128 << 10;

static FILTER: OnceLock<Filter> = OnceLock::new();

/// Sets the filter that every thread started from now on puts on itself. Only the first call counts: a filter cannot
/// be replaced by a weaker one. Without any call (unit tests) threads run unfiltered.
pub fn install_filter(filter: Filter) {
    let _ = FILTER.set(filter);
}

/// Puts the installed filter on the calling thread. The main thread restricts itself with this.
///
/// # Errors
/// When the kernel refuses the filter.
pub fn filter_current(kind: ThreadKind) -> io::Result<()> {
    FILTER.get().map_or(Ok(()), |filter| filter(kind))
}

/// Starts a thread called `name` (the kernel keeps 15 bytes of it) and returns when its filter is in force.
///
/// # Errors
/// When the host gives no thread, or when the kernel refuses its filter; then `body` does not run.
pub fn spawn(
    kind: ThreadKind,
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (outcome, filtered) = mpsc::sync_channel(1);
    let thread = Builder::new().name(name.to_owned()).stack_size(STACK_SIZE).spawn(move || {
        let filter = filter_current(kind);
        let safe = filter.is_ok();
        let _ = outcome.send(filter);
        drop(outcome);
        if safe {
            body();
        }
    })?;
    filtered.recv().map_err(|_| io::Error::other("the thread ended before its filter was in force"))??;
    Ok(thread)
}
