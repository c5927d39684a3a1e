//! Resource limits. The cgroup limits the rest: memory, processor time, threads.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::error::{JailError, at};
use crate::devices::TABLE;

/// Descriptors of a VM apart from those that its workers open: an event per queue and interrupt, one per virtual CPU, disk
/// segments (an image has at most some hundred layers).
const OWN_DESCRIPTORS: u64 = 1024;

/// What standard error may come to where it is a file that grows, in bytes.
const LOG_BYTES: u64 = 64 << 20;

/// Not here: `AS`, because guest memory is reserved, not used.
const LIMITS: [(Resource, u64); 5] = [
    // Guest memory belongs in no file.
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_MEMLOCK, 0),
    (Resource::RLIMIT_MSGQUEUE, 0),
    (Resource::RLIMIT_RTPRIO, 0),
    // 20 minus this is the best nice value: none better than what there is.
    (Resource::RLIMIT_NICE, 0),
];

/// Sets them, hard and soft, and the file creation mask. No disk is longer than `largest_file` bytes: without that limit a
/// guest that took this process over could fill the host's disk.
pub fn set(largest_file: u64) -> Result<(), JailError> {
    let descriptors = OWN_DESCRIPTORS + TABLE.iter().map(|row| row.syscalls.descriptors).sum::<u64>();
    let own = [(Resource::RLIMIT_NOFILE, descriptors), (Resource::RLIMIT_FSIZE, largest_file.max(LOG_BYTES))];
    for (resource, limit) in LIMITS.into_iter().chain(own) {
        let (_, hard) = getrlimit(resource).map_err(at("read resource limits"))?;
        // A launcher without privileges on the host cannot go above its own.
        let limit = limit.min(hard);
        setrlimit(resource, limit, limit).map_err(at("set resource limits"))?;
    }
    // Nothing creates files here; if something did, no other user could open them.
    umask(Mode::from_bits_truncate(0o777));
    Ok(())
}
