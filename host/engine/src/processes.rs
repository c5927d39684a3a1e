//! What runs in a container: the verb `top`.

use moat_containers::Container;
use moat_containers::state::Verb;
use moat_monitor::wire::{ClientMessage, MonitorMessage};
use moat_protocol::ProcessInfo;

use crate::reach::Answered;
use crate::{Engine, EngineError};

impl Engine {
    /// The processes of a container that runs.
    ///
    /// # Errors
    /// When its state does not allow it, or its monitor is lost.
    pub fn processes(&self, container: &Container) -> Result<Vec<ProcessInfo>, EngineError> {
        match self.ask(container, Verb::Top, &ClientMessage::Processes)? {
            Answered::Monitor(MonitorMessage::Processes { processes }) => Ok(processes),
            _ => Err(EngineError::NotRunning(container.config.name.clone())),
        }
    }
}
