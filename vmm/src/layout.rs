//! Every address that the guest sees, in one place, each with its reason.

/// A byte written to this I/O port ends the VM with [`crate::report::StopReason::PowerOff`]. It lies where the PC
/// architecture has nothing. The agent writes to it from user space, so a clean stop costs one exit and no driver.
pub const POWER_OFF_PORT: u16 = 0x604;
