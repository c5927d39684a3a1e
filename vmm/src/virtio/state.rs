//! The states of a device; [`super::lifecycle`] has the steps between them.

use std::fmt;

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no queues.
    Idle,
    /// It serves its queues.
    Running,
    /// It has queues and leaves them alone.
    Paused,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
        })
    }
}
