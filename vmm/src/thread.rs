//! The only place that starts threads. Each thread has a kind, and the kind decides which system calls it may make.

use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread::{Builder, JoinHandle};

/// What a thread does; one seccomp filter each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThreadKind {
    /// The first thread: builds the VM, then waits for the reason to stop.
    Main,
    /// Runs one virtual CPU and answers its exits, register writes to virtio devices among them.
    Vcpu,
    /// The worker of a disk.
    Block,
    /// The worker of a network device.
    Net,
    /// The worker of the vsock device.
    Vsock,
    /// The worker of the entropy device.
    Rng,
    /// The worker of the balloon.
    Balloon,
}

/// Closes a thread's system calls down to what its kind needs; called on the thread itself.
pub type Filter = fn(ThreadKind) -> io::Result<()>;

/// Stack of every thread, in bytes. Nothing here recurses or keeps buffers on the stack; a panic's message needs the
/// most. Pages that are never touched cost nothing.
const STACK_SIZE: usize = 128 << 10;

static FILTER: OnceLock<Filter> = OnceLock::new();

/// Sets the filter that every thread started from now on puts on itself. Only the first call counts: a filter cannot
/// be replaced by a weaker one. Without any call (unit tests) threads run unfiltered.
pub fn install_filter(filter: Filter) {
    let _ = FILTER.set(filter);
}

/// Puts the installed filter on the calling thread; how the main thread closes itself down.
///
/// # Errors
/// When the kernel refuses the filter.
pub fn filter_current(kind: ThreadKind) -> io::Result<()> {
    FILTER.get().map_or(Ok(()), |filter| filter(kind))
}

/// Starts a thread called `name` (the kernel keeps 15 bytes of it) and returns when its filter is in force.
///
/// # Errors
/// When there is no thread to be had, or when its filter is refused; then `body` does not run.
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
