//! The life of a device. [`Lifecycle`] owns a device and lets only legal steps through to it.
//!
//! ```text
//!                activate                    pause
//!     idle ------------------> running ------------------> paused --.
//!      ^ |                      | ^                          | | ^  | save
//!      | |                      | '--------- resume ---------' | '--'
//!      | |                      v                              |
//!      |-|------- reset --------+------------ reset -----------'
//!        |                                                     ^
//!        '----------------------- restore ---------------------'
//! ```
//! | step     | from         | to      | what the device does                                                      |
//! |----------|--------------|---------|---------------------------------------------------------------------------|
//! | activate | idle         | running | takes its queues and starts to serve them                                 |
//! | pause    | running      | paused  | finishes the request under way, touches no guest memory, keeps its queues |
//! | resume   | paused       | running | goes on where it stopped; kicks of the meantime count                     |
//! | save     | paused       | paused  | tells its state; no device can yet                                        |
//! | restore  | idle         | paused  | takes a saved state and queues; no device can yet                         |
//! | reset    | any state    | idle    | finishes the request under way, touches no guest memory, drops its queues |
//!
//! A step that fails leaves the state as it is. A device that breaks stays "running" and does nothing until it is reset:
//! pausing it answers [`LifecycleError::Broken`].
//!
//! The guest's driver causes activate and reset, through the transport. Pause, resume, save and restore are the host's:
//! the virtual CPUs stand still around them. A VM that the user pauses is stopped by a signal and needs none of them.

use super::device::{Activation, SavedState, VirtioDevice};
use super::error::LifecycleError;
use super::state::State;

/// A device and where it is in its life; see the module.
pub struct Lifecycle {
    device: Box<dyn VirtioDevice>,
    state: State,
}

impl Lifecycle {
    /// A device that is idle.
    pub fn new(device: Box<dyn VirtioDevice>) -> Self {
        Self { device, state: State::Idle }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What can be read from the device in every state.
    pub fn device(&self) -> &dyn VirtioDevice {
        &*self.device
    }

    /// The driver writes to the device's configuration space.
    pub fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.device.write_config(offset, data);
    }

    /// The driver has kicked a queue that the device serves on the virtual CPU. A device that does not run does nothing;
    /// one that is paused looks at such queues when it goes on.
    pub fn kicked(&mut self, queue: usize) {
        if self.state == State::Running {
            self.device.kicked(queue);
        }
    }

    /// Idle to running.
    ///
    /// # Errors
    /// When the device does not start.
    pub fn activate(&mut self, activation: Activation) -> Result<(), LifecycleError> {
        self.expect(State::Idle, "activate")?;
        self.device.activate(activation)?;
        self.state = State::Running;
        Ok(())
    }

    /// Running to paused.
    ///
    /// # Errors
    /// When the device is broken.
    pub fn pause(&mut self) -> Result<(), LifecycleError> {
        self.expect(State::Running, "pause")?;
        self.device.pause()?;
        self.state = State::Paused;
        Ok(())
    }

    /// Paused to running.
    ///
    /// # Errors
    /// When the device's worker is gone.
    pub fn resume(&mut self) -> Result<(), LifecycleError> {
        self.expect(State::Paused, "resume")?;
        self.device.resume()?;
        self.state = State::Running;
        Ok(())
    }

    /// The state of a paused device.
    ///
    /// # Errors
    /// When the device cannot be saved.
    pub fn save(&self) -> Result<SavedState, LifecycleError> {
        self.expect(State::Paused, "save")?;
        self.device.save()
    }

    /// Idle to paused, in a saved state.
    ///
    /// # Errors
    /// When the device cannot be restored, or not from this.
    pub fn restore(&mut self, saved: &SavedState, activation: Activation) -> Result<(), LifecycleError> {
        self.expect(State::Idle, "restore")?;
        self.device.restore(saved, activation)?;
        self.state = State::Paused;
        Ok(())
    }

    /// To idle, from every state.
    pub fn reset(&mut self) {
        self.device.reset();
        self.state = State::Idle;
    }

    fn expect(&self, state: State, step: &'static str) -> Result<(), LifecycleError> {
        if self.state == state { Ok(()) } else { Err(LifecycleError::Illegal { state: self.state, step }) }
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
