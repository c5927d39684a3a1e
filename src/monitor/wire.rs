//! What a monitor and its clients say to each other: [`moat_protocol::frame`]s on a unix stream socket.
//!
//! A connection is for one request, the client's first message. The streams of a process or an archive are descriptors
//! that come along with the monitor's answer: from then on bytes pass between the client and the guest without the
//! monitor, except for the output of the container's first process, which also goes to the log.

use moat_protocol::frame::Message;
use moat_protocol::{ArchiveFailure, ArchiveTask, PathStat, ProcessInfo, Stats, TerminalSize};
use serde::{Deserialize, Serialize};

use crate::engine::ResourceUpdate;
use crate::engine::state::Verb;
use crate::network::request::Join;

/// The version of these messages. It rises with every change of one of them, or of what they take from the agent's
/// protocol: a monitor outlives the program that started it, and refuses the clients of another version.
pub const VERSION: u8 = 4;

/// From a client to the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
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
    /// Within an attach or an exec: nobody reads the client's output any more. A process that was started by an exec
    /// finds its output closed.
    Hangup,
    /// Within an attach or an exec: the client leaves, and the process goes on as if it had not.
    Detach,
    /// Have the container end. Answered when it has.
    Stop {
        /// The signal that asks it to; the container's own when absent.
        signal: Option<i32>,
        /// How long it may take before it is killed, in seconds; the container's own when absent, for ever when
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
}

impl Message for ClientMessage {
    const VERSION: u8 = VERSION;
}

impl ClientMessage {
    /// What a request does to the container; nothing for what is no request.
    pub fn verb(&self) -> Option<Verb> {
        Some(match self {
            Self::Attach { .. } => Verb::Attach,
            Self::Exec { .. } => Verb::Exec,
            Self::Kill { .. } => Verb::Kill,
            Self::Resize { .. } | Self::Hangup | Self::Detach => return None,
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
#[serde(deny_unknown_fields)]
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

/// From the monitor to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MonitorMessage {
    /// The process runs. The descriptors that come along are its output, if that was wanted, then its input, if it
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
    /// What was asked has been done.
    Done,
    /// What was asked cannot be done; nothing was changed.
    Refused {
        /// What was asked and what was wrong.
        message: String,
    },
    /// What the container uses.
    Stats {
        /// The numbers.
        stats: Stats,
    },
    /// The container's processes.
    Processes {
        /// They.
        processes: Vec<ProcessInfo>,
    },
    /// The archive's stream comes along as a descriptor.
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
}

impl Message for MonitorMessage {
    const VERSION: u8 = VERSION;
}

/// How many descriptors a message can bring.
pub const MAX_DESCRIPTORS: usize = 2;
