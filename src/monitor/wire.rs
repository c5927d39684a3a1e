//! What a monitor and its clients say to each other: [`moat_protocol::frame`]s on a unix stream socket.
//!
//! A client's first message is [`ClientMessage::Attach`], and with it come the descriptors of the streams it has: raw
//! bytes, no frames. The connection itself stays for signals, resizes and the end.

use moat_protocol::TerminalSize;
use serde::{Deserialize, Serialize};

/// From a client to the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Connect the client's streams; the descriptors come along in the order of these fields.
    Attach {
        /// Whether there is one to read the process's stdin from.
        stdin: bool,
        /// Whether there is one to write its stdout to.
        stdout: bool,
        /// Whether there is one to write its stderr to.
        stderr: bool,
        /// The size of the client's terminal.
        size: Option<TerminalSize>,
    },
    /// Send a signal to the process.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The client's terminal has a new size.
    Resize {
        /// The new size.
        size: TerminalSize,
    },
}

/// From the monitor to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MonitorMessage {
    /// The process runs.
    Started,
    /// The process has ended, its output has been sent, and its record is written.
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
}

/// How many descriptors an [`ClientMessage::Attach`] can bring.
pub const MAX_DESCRIPTORS: usize = 3;
