//! A container's state and how it changes.
//!
//! ```text
//!            start              process ends
//! created ----------> running ---------------> exited
//!    |                   ^                        |  |
//!    |                   '------------------------'  |
//!    '------------------> (removed) <----------------'
//! ```

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has never run.
    Created,
    /// Its monitor is alive: the VM boots or the process runs.
    Running,
    /// Its process has ended.
    Exited,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
        })
    }
}

/// The changing part of a container's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Where it is in its life.
    pub status: Status,
    /// When its process was last started.
    pub started: Option<Timestamp>,
    /// When its process last ended.
    pub finished: Option<Timestamp>,
    /// The exit code of the last run, 0 to 255.
    pub exit_code: u8,
    /// Whether the last run ended for want of memory.
    pub oom_killed: bool,
    /// What went wrong outside the process itself.
    pub error: Option<String>,
}

impl State {
    /// The state of a container that was just created.
    pub fn created() -> Self {
        Self {
            status: Status::Created,
            started: None,
            finished: None,
            exit_code: 0,
            oom_killed: false,
            error: None,
        }
    }

    /// The state of a container whose monitor died under it.
    pub fn lost(self, now: Timestamp) -> Self {
        Self {
            status: Status::Exited,
            finished: Some(now),
            exit_code: LOST_EXIT_CODE,
            error: Some("the container's monitor ended unexpectedly".to_owned()),
            ..self
        }
    }
}

/// The exit code of a container that was killed from outside: 128 + SIGKILL.
pub const LOST_EXIT_CODE: u8 = 137;
