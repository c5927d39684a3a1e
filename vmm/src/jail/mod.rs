//! The jail: what a guest that takes this process over does not get.
//!
//! | layer                                 | what it takes away                                                |
//! |---------------------------------------|-------------------------------------------------------------------|
//! | [`descriptors`]                       | everything that the launcher left open by mistake                 |
//! | PID namespace (made by the launcher)  | seeing, signalling, tracing any other process                     |
//! | mount namespace, empty read-only root | every path                                                        |
//! | network, IPC, UTS, cgroup namespaces  | the host's interfaces, abstract sockets, shared memory, names      |
//! | own user and group, no groups         | all that the user of the launcher may do                          |
//! | no capabilities, locked               | getting any back, from any file or user change                    |
//! | `no_new_privs`, not dumpable, no core | the same by execution; memory in core files, tracing              |
//! | resource limits                       | descriptors without end, disks that grow, locked memory, queues   |
//! | [`seccomp`], one filter per thread    | all of the kernel that the thread's work does not need            |
//! | cgroup (joined at birth)              | more memory, processor time and threads than the VM was given     |
//!
//! The order matters. [`enter`] needs a process of one thread, because namespaces, users and capabilities belong to threads.
//! Threads that start after it inherit everything and put their filter on themselves (see [`crate::thread`]). The main
//! thread does so when it has started the last of them, because no filter allows `clone`.

pub mod descriptors;
mod error;
mod limits;
mod namespaces;
mod privileges;
pub mod seccomp;
pub mod table;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::getpid;

pub use self::error::JailError;
use crate::config::JailConfig;

/// Closes the jail around this process. It compiles the seccomp filters and leaves it to each thread to put its own on: see
/// [`seccomp::apply`]. No file that the process writes to gets larger than `largest_file` bytes.
///
/// # Errors
/// When one of the layers cannot be had; none is optional.
pub fn enter(config: &JailConfig, largest_file: u64) -> Result<(), JailError> {
    let JailConfig { uid, gid } = *config;
    if uid == 0 || gid == 0 {
        return Err(JailError::Root { uid, gid });
    }
    let pid = getpid().as_raw();
    if pid != 1 {
        return Err(JailError::NotFirst(pid));
    }
    // Changes nothing, and is refused when there is another thread.
    unshare(CloneFlags::CLONE_THREAD).map_err(|_| JailError::Threads)?;
    seccomp::compile()?;
    namespaces::leave_the_host()?;
    limits::set(largest_file)?;
    privileges::give_up(uid, gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_superuser_is_refused_before_anything_happens() {
        for (uid, gid) in [(0, 1), (1, 0), (0, 0)] {
            assert!(matches!(enter(&JailConfig { uid, gid }, 0), Err(JailError::Root { .. })));
        }
    }

    #[test]
    fn a_process_among_others_is_refused() {
        assert!(matches!(enter(&JailConfig { uid: 1000, gid: 1000 }, 0), Err(JailError::NotFirst(_))));
    }
}
