//! Places where a process can be made to stand still, so that a test can kill processes at exactly that moment.
//!
//! With `MOAT_FAILPOINT=NAME` in its environment a process stops itself with SIGSTOP when it gets to the place of that
//! name. `kill -CONT` lets it go on. The names are those of [`POINTS`], [`FILE_POINTS`],
//! [`NETWORK_POINTS`] and [`USERS_POINTS`].

use std::sync::OnceLock;

use nix::sys::signal::{Signal, raise};

/// Every place in a container's life, in its order.
pub const POINTS: [&str; 22] = [
    "create.reserved",
    "create.user-noted",
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
    "remove.user-gone",
];

/// Every place in the transfer of a container's files, and in what is made of them.
pub const FILE_POINTS: [&str; 4] = ["transfer.begun", "transfer.streamed", "commit.staged", "store.adopted"];

/// Every place in the change of a running container's networks.
pub const NETWORK_POINTS: [&str; 4] =
    ["network.joined", "network.plugged", "network.left", "network.unplugged"];

/// Every place in the first look at which containers were made from an image, after an upgrade.
pub const USERS_POINTS: [&str; 2] = ["users.one-noted", "users.all-noted"];

/// Stands still here if that was asked for.
pub fn hit(name: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(
        [&POINTS[..], &FILE_POINTS, &NETWORK_POINTS, &USERS_POINTS].iter().any(|list| list.contains(&name)),
        "{name} is in no list"
    );
    if WANTED.get_or_init(|| std::env::var("MOAT_FAILPOINT").ok()).as_deref() == Some(name) {
        // Stopping oneself cannot fail.
        let _ = raise(Signal::SIGSTOP);
    }
}
