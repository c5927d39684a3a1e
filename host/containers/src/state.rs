//! A container's state and how it changes.
//!
//! ```text
//!            start               process ends
//! created ----------> running ------------------> exited ------.
//!    |                 |  ^  ^                      |  ^       |
//!    |           pause |  |  |         start        |  |       |
//!    |                 v  |  '----------------------'  | stop  | rm
//!    |               paused                            |       |
//!    |            (unpause)   running --> restarting --'       |
//!    |                  by policy ^-----------'                v
//!    '----------------------------------------------------> (removed)
//! ```
//! What may be asked of a container in which state is one table, [`Status::permit`].

use std::fmt;

use jiff::Timestamp;
use moat_records::format::{Format, Record};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::health::Health;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has never run.
    Created,
    /// Its monitor is alive: the VM boots or the process runs.
    Running,
    /// Its monitor is alive and its VM stands still.
    Paused,
    /// Its process has ended, and its monitor is alive and about to start it again.
    Restarting,
    /// Its process has ended.
    Exited,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Created, Self::Running, Self::Paused, Self::Restarting, Self::Exited];

    /// Docker's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }

    /// Whether a monitor looks after the container: it holds the lock and answers on the socket.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// What becomes of `verb` in this state.
    ///
    /// # Errors
    /// When it is illegal; the error says what to do instead.
    pub fn permit(self, verb: Verb) -> Result<Permit, Illegal> {
        use Permit::{Go, Nothing};
        use Status::{Created, Exited, Paused, Restarting, Running};
        use Verb::*;
        let illegal = Err(Illegal { verb, status: self });
        match (verb, self) {
            (Start, Created | Exited) => Ok(Go),
            (Start, Running | Restarting) => Ok(Nothing),
            (Stop | Restart, Running | Restarting) => Ok(Go),
            (Stop, Created | Exited) => Ok(Nothing),
            (Restart, Created | Exited) => Ok(Go),
            (Kill | Exec | Attach | Top | Pause, Running) => Ok(Go),
            // As with Docker, what is killed while it is paused goes on to hear it.
            (Kill, Paused | Restarting) => Ok(Go),
            (Unpause, Paused) => Ok(Go),
            (Remove, Created | Exited) => Ok(Go),
            // Copying works in all states that last: a container without a process is looked at through a VM that
            // boots without it.
            (Copy | Commit | Export | Diff, Running | Created | Exited) => Ok(Go),
            // In one that runs the guest takes part.
            (Connect | Disconnect, Running | Created | Exited) => Ok(Go),
            (RemoveForced | Rename | Update | Wait | Stats, _) => Ok(Go),
            (Start | Stop | Restart | Kill | Pause | Unpause | Exec | Attach | Top | Remove, _)
            | (Copy | Commit | Export | Diff | Connect | Disconnect, Paused | Restarting) => illegal,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can be asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is the command of its name
pub enum Verb {
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Unpause,
    Exec,
    Attach,
    Top,
    Stats,
    Copy,
    Commit,
    Export,
    Diff,
    Remove,
    RemoveForced,
    Rename,
    Update,
    Wait,
    Connect,
    Disconnect,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Kill,
        Self::Pause,
        Self::Unpause,
        Self::Exec,
        Self::Attach,
        Self::Top,
        Self::Stats,
        Self::Copy,
        Self::Commit,
        Self::Export,
        Self::Diff,
        Self::Remove,
        Self::RemoveForced,
        Self::Rename,
        Self::Update,
        Self::Wait,
        Self::Connect,
        Self::Disconnect,
    ];
}

/// How a legal verb goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// There is something to do.
    Go,
    /// The container is already as it was asked to be.
    Nothing,
}

/// A verb that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct Illegal {
    /// What was asked.
    pub verb: Verb,
    /// What the container was.
    pub status: Status,
}

impl Illegal {
    /// The error about the container called `name`, in Docker's words where people script on them.
    pub fn of(&self, name: &str) -> String {
        match self.verb {
            Verb::Remove => format!("cannot remove container \"/{name}\": container {self}"),
            _ => format!("container {name} {self}"),
        }
    }
}

/// Reads after "container NAME": Docker's words where people know them, and the way out.
impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.verb, self.status) {
            (Verb::Remove, Status::Paused) => "is paused and must be unpaused first, or removed with 'rm -f'",
            (Verb::Remove, Status::Restarting) => {
                "is restarting: stop the container before removing or force remove"
            }
            (Verb::Remove, _) => "is running: stop the container before removing or force remove",
            (Verb::Pause, Status::Paused) => "is already paused",
            (Verb::Unpause, _) => "is not paused",
            (Verb::Start, Status::Paused) => "cannot be started: it is paused, try 'unpause' instead",
            (Verb::Attach, Status::Paused) => {
                "is paused. You cannot attach to a paused container, unpause it first"
            }
            (Verb::Exec, Status::Paused) => "is paused, unpause the container before exec",
            (Verb::Stop | Verb::Restart, Status::Paused) => {
                "is paused. Unpause the container before stopping it, or kill it"
            }
            (Verb::Copy | Verb::Commit | Verb::Export | Verb::Diff, Status::Paused) => {
                "is paused, and its files are read by the guest: unpause the container first"
            }
            (_, Status::Paused) => "is paused, unpause it first",
            (_, Status::Restarting) => "is restarting, wait until the container is running",
            (_, Status::Created | Status::Exited) => "is not running; start it first",
            (_, Status::Running) => "is running; stop it first",
        })
    }
}

/// The changing part of a container's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The format of this record.
    #[serde(default)]
    pub format: Format<1>,
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
    /// How often it was started again by its policy since a user started it.
    pub restarts: u32,
    /// Whether the last run ended because a user stopped it.
    pub stopped_by_user: bool,
    /// What its health check knows.
    pub health: Option<Health>,
}

impl Record for State {
    const FORMAT: u32 = 1;
}

impl State {
    /// The state of a container that was just created.
    pub fn created() -> Self {
        Self {
            format: Format,
            status: Status::Created,
            started: None,
            finished: None,
            exit_code: 0,
            oom_killed: false,
            error: None,
            restarts: 0,
            stopped_by_user: false,
            health: None,
        }
    }

    /// The state of a container that a user starts: a new life, with the times of the last one.
    pub fn starting(&self) -> Self {
        Self { status: Status::Running, started: self.started, finished: self.finished, ..Self::created() }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state with every verb: what must go, what is nothing, and that everything else names its way out.
    #[test]
    fn the_table_is_whole() {
        let go = |verb: Verb| -> &[Status] {
            use Status::{Created, Exited, Paused, Restarting, Running};
            match verb {
                Verb::Start => &[Created, Exited],
                Verb::Stop => &[Running, Restarting],
                Verb::Restart => &[Created, Running, Restarting, Exited],
                Verb::Kill => &[Running, Paused, Restarting],
                Verb::Pause | Verb::Exec | Verb::Attach | Verb::Top => &[Running],
                Verb::Unpause => &[Paused],
                Verb::Copy | Verb::Commit | Verb::Export | Verb::Diff | Verb::Connect | Verb::Disconnect => {
                    &[Created, Running, Exited]
                }
                Verb::Remove => &[Created, Exited],
                Verb::RemoveForced | Verb::Rename | Verb::Update | Verb::Wait | Verb::Stats => &Status::ALL,
            }
        };
        for verb in Verb::ALL {
            for status in Status::ALL {
                match status.permit(verb) {
                    Ok(Permit::Go) => assert!(go(verb).contains(&status), "{verb:?} {status}"),
                    Ok(Permit::Nothing) => assert!(
                        matches!(
                            (verb, status),
                            (Verb::Start, Status::Running | Status::Restarting)
                                | (Verb::Stop, Status::Created | Status::Exited)
                        ),
                        "{verb:?} {status}"
                    ),
                    Err(illegal) => {
                        assert!(!go(verb).contains(&status), "{verb:?} {status}");
                        let text = illegal.to_string();
                        let names_state =
                            ["paused", "running", "restarting"].iter().any(|s| text.contains(s));
                        assert!(names_state, "{verb:?} {status}: {text}");
                    }
                }
            }
        }
    }
}
