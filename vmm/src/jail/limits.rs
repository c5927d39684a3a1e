//! Resource limits. What they do not limit is the cgroup's to limit: memory, processor time, threads.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::{JailError, at};
use crate::virtio::vsock::MAX_CONNECTIONS;

/// Descriptors of a VM apart from vsock connections: an event per queue and interrupt, a virtual CPU each, disk
/// segments (an image has at most some hundred layers).
const OWN_DESCRIPTORS: u64 = 1024;

/// What standard error may come to where it is a file that grows, in bytes.
const LOG_BYTES: u64 = 64 << 20;

/// Not here: `AS`, because guest memory is reserved, not used.
const LIMITS: [(Resource, u64); 6] = [
    (Resource::RLIMIT_NOFILE, OWN_DESCRIPTORS + MAX_CONNECTIONS as u64),
    // Guest memory belongs in no file.
    (Resource::RLIMIT_CORE, 0),
    (Resource::RLIMIT_MEMLOCK, 0),
    (Resource::RLIMIT_MSGQUEUE, 0),
    (Resource::RLIMIT_RTPRIO, 0),
    // 20 minus this is the best nice value: none better than what there is.
    (Resource::RLIMIT_NICE, 0),
];

/// Sets them, hard and soft, and the file creation mask. A disk has `largest_file` bytes and no more: that of a guest which
/// took this process over would fill the host's otherwise.
pub fn set(largest_file: u64) -> Result<(), JailError> {
    let files = (Resource::RLIMIT_FSIZE, largest_file.max(LOG_BYTES));
    for (resource, limit) in LIMITS.into_iter().chain([files]) {
        let (_, hard) = getrlimit(resource).map_err(at("read resource limits"))?;
        // A launcher without privileges on the host cannot go above its own.
        let limit = limit.min(hard);
        setrlimit(resource, limit, limit).map_err(at("set resource limits"))?;
    }
    // Nothing creates files here; if something did, they would be nobody else's.
    umask(Mode::from_bits_truncate(0o777));
    Ok(())
}
