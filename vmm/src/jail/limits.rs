//! Resource limits. What they do not limit is the cgroup's to limit: memory, processor time, threads.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::{JailError, at};
use crate::virtio::vsock::MAX_CONNECTIONS;

/// Descriptors of a VM apart from vsock connections: an event per queue and interrupt, a virtual CPU each, disk
/// segments (an image has at most some hundred layers).
const OWN_DESCRIPTORS: u64 = 1024;

/// Not here: `FSIZE`, because a disk may be of any size, and `AS`, because guest memory is reserved, not used.
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

/// Sets them, hard and soft, and the file creation mask.
pub fn set() -> Result<(), JailError> {
    for (resource, limit) in LIMITS {
        let (_, hard) = getrlimit(resource).map_err(at("read resource limits"))?;
        // A launcher without privileges on the host cannot go above its own.
        let limit = limit.min(hard);
        setrlimit(resource, limit, limit).map_err(at("set resource limits"))?;
    }
    // Nothing creates files here; if something did, they would be nobody else's.
    umask(Mode::from_bits_truncate(0o777));
    Ok(())
}
