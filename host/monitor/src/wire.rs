//! What a monitor and its clients say to each other: [`moat_protocol::frame`]s on a unix stream socket.
//!
//! A connection is for one request, the client's first message. The streams of a process or an archive are descriptors
//! that come along with the monitor's answer: from then on bytes pass between the client and the guest without the
//! monitor, except for the output of the container's first process, which also goes to the log.

use moat_protocol::frame::Message;
use moat_protocol::{ArchiveFailure, ArchiveTask, PathStat, ProcessInfo, Stats, TerminalSize};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use moat_containers::state::{Status, Verb};
use moat_containers::{ContainerError, ResourceUpdate};
use moat_network::NetworkError;
use moat_network::request::Join;
use moat_records::id::ExecId;
use moat_records::kind::ErrorKind;

/// The version of these messages. A monitor outlives the release that started it, so the messages grow by addition: a new
/// field has a default, fields that a peer does not know are passed over, and a request that a monitor does not know is
/// refused. The version rises only when that is not enough; then a client says that the monitor is of another version.
pub const VERSION: u8 = 4;

/// From a client to the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// Connect to the container's first process. Answered by [`MonitorMessage::Started`] once it runs, and by
    /// [`MonitorMessage::Exited`] when it has ended.
    Attach {
        /// Whether the client has input for it.
        stdin: bool,
        /// Whether the client wants its output.
        output: bool,
        /// The size of the client's terminal.
        size: Option<TerminalSize>,
    },
    /// Start one more process. Answered as [`ClientMessage::Attach`] is.
    Exec {
        /// What to start.
        process: ExecRequest,
        /// The size of the client's terminal.
        size: Option<TerminalSize>,
    },
    /// Get ready to start one more process, which any client can then start, wait for and ask about. Answered by
    /// [`MonitorMessage::ExecCreated`].
    ExecCreate {
        /// What to start.
        process: ExecRequest,
    },
    /// Start it. Answered as [`ClientMessage::Attach`] is.
    ExecStart {
        /// Which.
        id: ExecId,
        /// Whether the client has input for it; it has none where it was created without.
        stdin: bool,
        /// Whether the client wants its output; there is none where it was created without.
        output: bool,
        /// The size of the client's terminal.
        size: Option<TerminalSize>,
    },
    /// Tell its terminal a new size.
    ExecResize {
        /// Which.
        id: ExecId,
        /// The new size.
        size: TerminalSize,
    },
    /// What is known of it. Answered by [`MonitorMessage::Exec`].
    ExecInspect {
        /// Which.
        id: ExecId,
    },
    /// Answered as [`ClientMessage::ExecInspect`] is, when it has ended.
    ExecWait {
        /// Which.
        id: ExecId,
    },
    /// Within an attach or an exec: send a signal to the process. As a request of its own: to the first process,
    /// answered by [`MonitorMessage::Done`].
    Kill {
        /// The signal's number.
        signal: i32,
    },
    /// Within an attach or an exec: the client's terminal has a new size.
    Resize {
        /// The new size.
        size: TerminalSize,
    },
    /// Within an attach or an exec: the client's output is not read any more. A process that was started by an exec
    /// finds its output closed.
    Hangup,
    /// Within an attach or an exec: the client leaves, and the process goes on as if it had not.
    Detach,
    /// Have the container end. Answered when it has.
    Stop {
        /// The signal that asks it to; the container's own when absent.
        signal: Option<i32>,
        /// How long it may take before it is killed, in seconds; the container's own when absent, without limit when
        /// negative.
        timeout: Option<i64>,
        /// Keep it even if it is to be removed when it ends.
        keep: bool,
    },
    /// Stop the virtual processors.
    Pause,
    /// Let them run again.
    Unpause,
    /// Answered when the container has ended for good.
    Wait,
    /// Change what it may use.
    Update {
        /// What to change.
        update: ResourceUpdate,
    },
    /// Give it another name.
    Rename {
        /// The name.
        name: String,
    },
    /// Join one more network.
    Connect {
        /// Which, and as whom.
        join: Join,
    },
    /// Leave a network.
    Disconnect {
        /// Its name.
        network: String,
    },
    /// What it uses.
    Stats,
    /// Its processes.
    Processes,
    /// Files in or out. [`MonitorMessage::Stream`] comes first, if there is a stream.
    Archive {
        /// What to do.
        task: ArchiveTask,
    },
    /// What a newer client asks for.
    #[serde(other)]
    Unknown,
}

impl Message for ClientMessage {
    const VERSION: u8 = VERSION;
}

impl ClientMessage {
    /// What a request does to the container; nothing for a message that is not a request.
    pub fn verb(&self) -> Option<Verb> {
        Some(match self {
            Self::Attach { .. } => Verb::Attach,
            Self::Exec { .. } | Self::ExecCreate { .. } | Self::ExecStart { .. } => Verb::Exec,
            Self::ExecResize { .. } | Self::ExecInspect { .. } | Self::ExecWait { .. } => Verb::Wait,
            Self::Kill { .. } => Verb::Kill,
            Self::Resize { .. } | Self::Hangup | Self::Detach | Self::Unknown => return None,
            Self::Stop { .. } => Verb::Stop,
            Self::Pause => Verb::Pause,
            Self::Unpause => Verb::Unpause,
            Self::Wait => Verb::Wait,
            Self::Update { .. } => Verb::Update,
            Self::Rename { .. } => Verb::Rename,
            Self::Connect { .. } => Verb::Connect,
            Self::Disconnect { .. } => Verb::Disconnect,
            Self::Stats => Verb::Stats,
            Self::Processes => Verb::Top,
            Self::Archive { task: ArchiveTask::Changes } => Verb::Diff,
            Self::Archive { task: ArchiveTask::Layer { .. } } => Verb::Commit,
            Self::Archive { .. } => Verb::Copy,
        })
    }
}

/// One more process in a container that runs. What is left out is the container's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE` each, added to the container's; `NAME` takes one away.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// `[user][:group]`.
    pub user: Option<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether the client has input for it.
    pub stdin: bool,
    /// Whether the client wants its output.
    pub output: bool,
    /// Whether it has every capability.
    pub privileged: bool,
}

/// What a monitor knows of a process that was started beside the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecInfo {
    /// Its id.
    pub id: ExecId,
    /// What was asked for.
    pub process: ExecRequest,
    /// Whether it runs.
    pub running: bool,
    /// Docker's exit code, once it has ended: its own, or 125, 126 or 127 when it could not be started.
    pub exit_code: Option<u8>,
}

/// From the monitor to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum MonitorMessage {
    /// The process runs. The descriptors that are sent with it are its output, if that was wanted, then its input, if it
    /// has one. The output of a process without a terminal is in [`moat_protocol::output`] frames.
    Started {
        /// Whether the first descriptor is its output.
        output: bool,
        /// Whether the last descriptor is its input.
        stdin: bool,
        /// Whether it has a terminal.
        terminal: bool,
        /// Whether the client's end of input is the process's.
        stdin_ends: bool,
    },
    /// The process has ended, and its output has been sent. Of the first process the record is written.
    Exited {
        /// Docker's exit code for it.
        code: u8,
        /// What went wrong outside the process, if that is what ended it.
        error: Option<String>,
    },
    /// The process could not be started.
    Failed {
        /// 125, 126 or 127.
        code: u8,
        /// What was asked and what was wrong.
        message: String,
    },
    /// A process can be started by this id.
    ExecCreated {
        /// Its id.
        id: ExecId,
    },
    /// What is known of a process.
    Exec {
        /// Its settings and its state.
        exec: ExecInfo,
    },
    /// What was asked has been done.
    Done,
    /// What was asked cannot be done; nothing was changed.
    Refused(Refusal),
    /// What the container uses.
    Stats {
        /// The numbers.
        stats: Stats,
    },
    /// The container's processes.
    Processes {
        /// One entry for each process.
        processes: Vec<ProcessInfo>,
    },
    /// The archive's stream is the descriptor that is sent with this message.
    Stream,
    /// The archive was sent or received to its end.
    ArchiveDone {
        /// What is at the path, where that was asked or is of interest.
        stat: Option<PathStat>,
    },
    /// The archive was not.
    ArchiveFailed {
        /// What kind of failure.
        failure: ArchiveFailure,
        /// What was asked and what was wrong.
        message: String,
    },
    /// What a newer monitor says.
    #[serde(other)]
    Unknown,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of failure it is.
    #[serde(default = "unknown_kind")]
    pub kind: ErrorKind,
    /// The container's state, where that is what does not allow it.
    #[serde(default)]
    pub state: Option<Status>,
    /// Whether the message names the container; else a client does so.
    #[serde(default)]
    pub names_container: bool,
    /// What was asked and what was wrong.
    pub message: String,
}

impl Refusal {
    /// A refusal of `kind` that no state is the reason for.
    pub fn new(kind: ErrorKind, message: impl ToString) -> Self {
        Self { kind, state: None, names_container: false, message: message.to_string() }
    }

    /// A refusal because the host or the guest failed.
    pub fn host(message: impl ToString) -> Self {
        Self::new(ErrorKind::Host, message)
    }
}

impl From<&ContainerError> for Refusal {
    fn from(error: &ContainerError) -> Self {
        Self {
            kind: error.kind(),
            state: error.state(),
            names_container: error.names_container(),
            message: error.to_string(),
        }
    }
}

impl From<ContainerError> for Refusal {
    fn from(error: ContainerError) -> Self {
        Self::from(&error)
    }
}

impl From<NetworkError> for Refusal {
    fn from(error: NetworkError) -> Self {
        Self { names_container: error.names_container(), ..Self::new(error.kind(), error) }
    }
}

/// What a monitor that tells no kind means.
fn unknown_kind() -> ErrorKind {
    ErrorKind::Host
}

impl Message for MonitorMessage {
    const VERSION: u8 = VERSION;
}

/// How many descriptors a message can bring.
pub const MAX_DESCRIPTORS: usize = 2;
