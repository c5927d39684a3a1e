//! What a VM tells the process that launched it: one JSON object per line on [`crate::config::VmConfig::report`].

use serde::{Deserialize, Serialize};

/// The longest line a reader needs to accept, in bytes.
pub const MAX_REPORT_LINE: usize = 4096;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Report {
    /// The jail is closed and the virtual CPUs are about to run.
    Running,
    /// The VM never ran.
    Failed {
        /// Which step of the boot: `config`, `jail`, `kernel`, `memory`, `kvm`, `device`.
        step: String,
        /// What was asked and what was wrong.
        message: String,
    },
    /// The VM ran and has stopped; always the last line.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}

/// Why a VM stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StopReason {
    /// The guest's agent wrote to the power-off port, see [`crate::layout::POWER_OFF_PORT`].
    PowerOff,
    /// The guest's kernel reset the machine: that is how it ends a panic.
    Reset,
    /// A triple fault.
    TripleFault,
    /// The launcher closed the dial socket.
    LauncherGone,
    /// A virtual CPU or a device could not go on.
    Fault {
        /// What happened.
        message: String,
    },
}
