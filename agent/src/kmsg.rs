//! The agent's log is the kernel's: it shows on a debug console and in the reason of a panic.
//!
//! The kernel limits what is written to /dev/kmsg through one descriptor, by default to ten lines in five seconds. So a
//! peer that provokes messages cannot flood the console.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

/// The longest line that is logged in bytes; the kernel refuses records over about 1 KB.
const LONGEST_LINE: usize = 900;

static LOG: OnceLock<File> = OnceLock::new();

/// Opens the log. Before that nothing is logged.
pub fn open() {
    if let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = LOG.set(file);
    }
    std::panic::set_hook(Box::new(|panic| log(panic)));
}

/// The descriptor of the log, for a child that keeps it open.
pub fn as_fd() -> Option<BorrowedFd<'static>> {
    LOG.get().map(AsFd::as_fd)
}

/// Logs a line at the level of an error.
pub fn log(message: impl Display) {
    let Some(mut file) = LOG.get() else { return };
    let mut line = format!("<3>moat-agent: {message}").replace('\n', "; ").into_bytes();
    line.truncate(LONGEST_LINE);
    // A failure to log has no other place to go.
    let _ = file.write_all(&line);
}
