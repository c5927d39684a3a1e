//! The messages. JSON, so that the OCI types travel as their specification writes them.
//!
//! The enums are tagged externally (`{"signal":{…}}`, `"shutdown"`): with an internal tag serde would ignore unknown
//! fields of messages without content, and would keep a second copy of each message while it reads.

use oci_spec::runtime::{Mount, Process};
use serde::{Deserialize, Serialize};

/// Names a process for as long as the guest lives; the host chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// A random secret that a stream connection must present; see [`StreamHello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamToken(pub String);

/// From the host to the guest, on the control connection, as the host writes it; the guest reads
/// [`guest::HostMessage`](crate::guest::HostMessage).
pub type HostMessage = HostMessageOf<ContainerSpec>;

/// A [`HostMessage`] over either end's idea of a container specification.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostMessageOf<S> {
    /// Start the container. Answered by [`GuestMessage::Started`] or [`GuestMessage::StartFailed`]. Sent once.
    Start {
        /// The name of the container's first process.
        process: ProcessId,
        /// What each stdio stream of it must present.
        token: StreamToken,
        /// What to start. Boxed: it is far larger than the other messages.
        spec: Box<S>,
    },
    /// Send a signal to a process. A process that is gone is no error: its exit is on its way.
    Signal {
        /// Which process.
        process: ProcessId,
        /// The signal's number as x86-64 Linux counts, 1 to 64.
        signal: i32,
    },
    /// Set the size of a process's terminal. Without a terminal it does nothing.
    Resize {
        /// Which process.
        process: ProcessId,
        /// The new size.
        size: TerminalSize,
    },
    /// Kill what still runs, write the file system back, power off.
    Shutdown,
}

/// From the guest to the host, on the control connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GuestMessage {
    /// The first message: the guest is up and its root file system is mounted.
    Hello,
    /// Instead of [`GuestMessage::Hello`]: the guest cannot be used. It powers off as soon as the host closes the
    /// connection, or after [`LAST_WORDS`](crate::LAST_WORDS).
    BootFailed {
        /// Where the boot stopped.
        phase: BootPhase,
        /// What was asked and what was wrong.
        message: String,
    },
    /// The process runs; its streams are connected.
    Started {
        /// Which process.
        process: ProcessId,
    },
    /// The process could not be started.
    StartFailed {
        /// Which process.
        process: ProcessId,
        /// What kind of failure, for the exit code.
        failure: StartFailure,
        /// What was asked and what was wrong, in the words a user reads.
        message: String,
    },
    /// The process ended. Its output streams reach their end on their own.
    Exited {
        /// Which process.
        process: ProcessId,
        /// How.
        status: ExitStatus,
        /// Whether the guest's kernel killed something in the container for want of memory.
        oom_killed: bool,
    },
}

/// The phases of the guest's boot, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootPhase {
    /// The agent's own /proc, /sys, /dev and cgroup mounts.
    Mounts,
    /// The image's disk and the writable disk.
    Disks,
    /// The overlay of the two.
    Overlay,
    /// Dialing the host.
    Dial,
}

/// Why a process did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartFailure {
    /// The command does not exist (exit code 127).
    NotFound,
    /// The command exists but cannot be executed (exit code 126).
    NotExecutable,
    /// Something else about the container is wrong, such as its user or a mount (exit code 125).
    Setup,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// It exited with this code, 0 to 255.
    Code(u8),
    /// A signal of this number ended it.
    Signal(u8),
}

/// The first and only frame of a stream connection, from the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamHello {
    /// Whose stream.
    pub process: ProcessId,
    /// Which stream.
    pub stream: Stream,
    /// The token that came with the request to start the process.
    pub token: StreamToken,
}

/// The stdio streams. A process with a terminal has [`Stream::Stdin`] and [`Stream::Stdout`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// From the host. The host closing its half is the process's end of file.
    Stdin,
    /// To the host; the terminal's output when there is a terminal.
    Stdout,
    /// To the host.
    Stderr,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
}

/// A line of the container's /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostsEntry {
    /// The address.
    pub address: String,
    /// The names it goes by.
    pub names: Vec<String>,
}

/// What to start, with the OCI types as the host writes them.
pub type ContainerSpec = ContainerSpecOf<Process, Mount>;

/// What to start: the parts of an OCI runtime specification that mean something inside the guest.
///
/// `process.user` is ignored: the user's name can only be resolved against the container's own
/// `/etc/passwd`, which the host never reads, so it travels as it was typed in `user`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpecOf<P, M> {
    /// The UTS host name.
    pub hostname: String,
    /// `[user][:group]`, each a name or a number from 0 to 2^31-1; empty for root.
    pub user: String,
    /// Arguments, environment, working directory, terminal and its size, rlimits, capabilities.
    pub process: P,
    /// Mounts in order; the file system types the agent knows are proc, sysfs, devpts, mqueue, cgroup2 and tmpfs.
    pub mounts: Vec<M>,
    /// Whether the container sees its root file system read-only.
    pub read_only_root: bool,
    /// Paths that are hidden from the container.
    pub masked_paths: Vec<String>,
    /// Paths that the container cannot write to.
    pub read_only_paths: Vec<String>,
    /// The container's /etc/hosts.
    pub hosts: Vec<HostsEntry>,
    /// Whether stdin is connected; without it the process reads end of file at once.
    pub open_stdin: bool,
}
