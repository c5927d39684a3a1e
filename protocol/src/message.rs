//! The messages. They are JSON, so that the OCI types are sent as their specification writes them.
//!
//! The enums are tagged externally (`{"signal":{…}}`, `"shutdown"`): with an internal tag serde would ignore unknown
//! fields of messages without content, and would keep a second copy of each message while it reads.

use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

use crate::archive::{ArchiveFailure, ArchiveTask, PathStat};
use crate::frame::Message;
use crate::network::{Dns, Interface, MacAddress};
use crate::spec::{ContainerSpec, ExecSpecOf, HostsEntry};
use crate::stats::{ProcessInfo, Stats};

/// The version of the agent's messages, which both ends must speak. It is in the header of each frame and rises with
/// every change of a message.
pub const VERSION: u8 = 4;

/// Names a process for as long as the guest lives; the host chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// Names a question to the guest other than a process; the host chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u32);

/// A random secret that a stream connection must present, see [`StreamHello`]. Each token is sent once, so it also
/// tells which request the connection is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamToken(pub String);

/// From the host to the guest, on the control connection, as the host writes it; the guest reads
/// [`guest::HostMessage`](crate::guest::HostMessage).
pub type HostMessage = HostMessageOf<ContainerSpec, Process>;

/// A [`HostMessage`] over one end's types of a container specification and of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostMessageOf<S, P> {
    /// Start the container. Answered by [`GuestMessage::Started`] or [`GuestMessage::StartFailed`]. Sent once.
    Start {
        /// The name of the container's first process.
        process: ProcessId,
        /// What each stdio stream of it must present.
        token: StreamToken,
        /// What to start. Boxed: it is far larger than the other messages.
        spec: Box<S>,
    },
    /// Start one more process in the container. Answered as [`HostMessageOf::Start`] is.
    Exec {
        /// Its name.
        process: ProcessId,
        /// What each stdio stream of it must present.
        token: StreamToken,
        /// What to start.
        spec: Box<ExecSpecOf<P>>,
    },
    /// Send a signal to a process. A process that is gone is no error, because its exit is being reported.
    Signal {
        /// Which process.
        process: ProcessId,
        /// The signal's number on x86-64 Linux, 1 to 64.
        signal: i32,
    },
    /// Set the size of a process's terminal. Without a terminal this does nothing.
    Resize {
        /// Which process.
        process: ProcessId,
        /// The new size.
        size: TerminalSize,
    },
    /// Read, write or look at the container's file system, whether or not a process runs in it. Answered by
    /// [`GuestMessage::ArchiveDone`] or [`GuestMessage::ArchiveFailed`], after the stream, if there is one.
    Archive {
        /// The request's name.
        request: RequestId,
        /// What its [`Stream::Archive`] connection must present.
        token: StreamToken,
        /// What to do.
        task: ArchiveTask,
    },
    /// What the container uses. Answered by [`GuestMessage::Stats`].
    Stats {
        /// The request's name.
        request: RequestId,
    },
    /// The container's processes. Answered by [`GuestMessage::Processes`].
    Processes {
        /// The request's name.
        request: RequestId,
    },
    /// Set how many processes the container may have.
    LimitProcesses {
        /// The limit; without a number there is none.
        limit: Option<u32>,
    },
    /// Take a device of the VM into use as one more interface of the container. An interface that is there already only
    /// gets the gateways. Answered by [`GuestMessage::NetworkChanged`] or [`GuestMessage::NetworkFailed`].
    ConnectNetwork {
        /// The request's name.
        request: RequestId,
        /// The device's name on the platform bus of the guest's kernel, such as `virtio-mmio.6`. It has no driver yet.
        device: String,
        /// The interface that it becomes.
        interface: Interface,
        /// Lines to add to the container's /etc/hosts.
        hosts: Vec<HostsEntry>,
        /// The new content of its /etc/resolv.conf, unless the container has changed that file.
        dns: Dns,
    },
    /// Take an interface away. Its device has no driver afterwards, and the lines of its addresses are gone from
    /// /etc/hosts. Answered as [`HostMessageOf::ConnectNetwork`] is.
    DisconnectNetwork {
        /// The request's name.
        request: RequestId,
        /// The device, as in [`HostMessageOf::ConnectNetwork`].
        device: String,
        /// The interface's hardware address. One that is gone is no error.
        mac: MacAddress,
    },
    /// Kill what still runs, write the file system back, power off.
    Shutdown,
}

impl<S, P> Message for HostMessageOf<S, P> {
    const VERSION: u8 = VERSION;
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
    /// The process ended. Its output may still be arriving.
    Exited {
        /// Which process.
        process: ProcessId,
        /// How it ended.
        status: ExitStatus,
        /// Whether the guest's kernel killed a process of the container because memory ran out.
        oom_killed: bool,
    },
    /// An [`HostMessageOf::Archive`] request is done; everything it sends has been sent.
    ArchiveDone {
        /// Which request.
        request: RequestId,
        /// What is at the path, for [`ArchiveTask::Stat`] and [`ArchiveTask::Read`].
        stat: Option<PathStat>,
    },
    /// An [`HostMessageOf::Archive`] request could not be carried out.
    ArchiveFailed {
        /// Which request.
        request: RequestId,
        /// What kind of failure.
        failure: ArchiveFailure,
        /// What was asked and what was wrong, in the words a user reads.
        message: String,
    },
    /// What the container uses.
    Stats {
        /// Which request this answers.
        request: RequestId,
        /// The numbers.
        stats: Stats,
    },
    /// The container's processes, at most [`MAX_PROCESSES`](crate::MAX_PROCESSES) of them.
    Processes {
        /// Which request this answers.
        request: RequestId,
        /// The list.
        processes: Vec<ProcessInfo>,
    },
    /// The network has been changed.
    NetworkChanged {
        /// Which request this answers.
        request: RequestId,
    },
    /// The network could not be changed.
    NetworkFailed {
        /// Which request this answers.
        request: RequestId,
        /// What was asked and what was wrong, in the words a user reads.
        message: String,
    },
}

impl Message for GuestMessage {
    const VERSION: u8 = VERSION;
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
    /// Which stream.
    pub stream: Stream,
    /// The token that came with the request that the stream belongs to.
    pub token: StreamToken,
}

impl Message for StreamHello {
    const VERSION: u8 = VERSION;
}

/// The streams of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// A process's stdin, from the host. The host closing its half is the process's end of file.
    Stdin,
    /// What a process writes, to the host: a terminal's output as it is; without a terminal stdout and stderr, in the
    /// order in which they were written, as [`output`](crate::output) frames.
    Output,
    /// What an [`ArchiveTask`] reads or writes.
    Archive,
    /// DNS queries of the container's programs, to the host, and their answers, as [`names`](crate::names) has it. It
    /// belongs to the container's first process.
    Names,
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
