//! Places where a process can be made to stand still, so that a test can kill whoever it likes at exactly that moment.
//!
//! With `MOAT_HALT_AT=NAME` in its environment a process stops itself with SIGSTOP when it gets to the place of that
//! name. `kill -CONT` lets it go on. The names are those of [`POINTS`].

use std::sync::OnceLock;

use nix::sys::signal::{Signal, raise};

/// Every place, in the order of a container's life.
pub const POINTS: [&str; 20] = [
    "create.reserved",
    "create.named",
    "create.disk-made",
    "create.state-written",
    "create.config-written",
    "start.recorded",
    "start.bound",
    "start.spawned",
    "monitor.heard-client",
    "network.reserved",
    "network.admitted",
    "monitor.vm-launched",
    "monitor.guest-up",
    "monitor.process-started",
    "monitor.process-ended",
    "monitor.vm-gone",
    "monitor.end-recorded",
    "remove.locked",
    "remove.name-released",
    "remove.config-gone",
];

/// Stands still here if that was asked for.
pub fn point(name: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    if WANTED.get_or_init(|| std::env::var("MOAT_HALT_AT").ok()).as_deref() == Some(name) {
        // Stopping oneself cannot fail.
        let _ = raise(Signal::SIGSTOP);
    }
}
