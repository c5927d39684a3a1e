//! What a container uses, as its guest counts it.

use serde::{Deserialize, Serialize};

/// What a container uses. Counters count since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Processor time of the container's processes in microseconds.
    pub cpu_usec: u64,
    /// The part of it in user mode.
    pub cpu_user_usec: u64,
    /// The part of it in the kernel.
    pub cpu_system_usec: u64,
    /// How many processors the guest has.
    pub cpus: u32,
    /// Memory of the container in bytes, without cached file contents that the kernel can drop at once.
    pub memory: u64,
    /// Memory of the guest in bytes.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from the disks.
    pub block_read: u64,
    /// Bytes written to them.
    pub block_written: u64,
    /// Bytes received by the guest's interfaces, loopback excepted.
    pub net_received: u64,
    /// Bytes sent by them.
    pub net_sent: u64,
}

/// One of a container's processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessInfo {
    /// Its number as the container sees it.
    pub pid: u32,
    /// Its parent's number; 0 when the parent is outside of the container.
    pub ppid: u32,
    /// The effective user, by number.
    pub uid: u32,
    /// The effective group, by number.
    pub gid: u32,
    /// Its state as /proc/PID/stat has it, such as R, S, D, T or Z.
    pub state: char,
    /// Its terminal as ps(1) writes it: `pts/0`, or `?`.
    pub tty: String,
    /// Its nice value.
    pub nice: i32,
    /// How many threads it has.
    pub threads: u32,
    /// Processor time in milliseconds.
    pub cpu_msec: u64,
    /// When it started, in seconds since 1970.
    pub started: i64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Virtual memory in KiB.
    pub vsz_kib: u64,
    /// The name of its program.
    pub name: String,
    /// Its command line, with spaces between the words; its name in brackets when it has none.
    pub command: String,
}

/// The longest [`ProcessInfo::command`] in bytes.
pub const MAX_COMMAND: usize = 4 << 10;

/// How many processes one answer lists at most.
pub const MAX_PROCESSES: usize = 512;
