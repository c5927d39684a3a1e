//! The verbs of a container's life, from stop to rename.

use moat_containers::state::Verb;
use moat_containers::{Container, ResourceUpdate, events};
use moat_monitor::wire::{ClientMessage, MonitorMessage};

use crate::reach::Answered;
use crate::{Engine, EngineError};

/// How a container is ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// The signal that asks it to end; the container's own when absent.
    pub signal: Option<i32>,
    /// How long it may take before it is killed, in seconds; without limit when negative; the container's own when
    /// absent.
    pub timeout: Option<i64>,
}

impl Engine {
    /// Ends a container: asks it to, and kills it when it does not in time. One that has ended is no error.
    ///
    /// # Errors
    /// When its state does not allow it, or its monitor is lost.
    pub fn stop(&self, container: &Container, options: StopOptions) -> Result<(), EngineError> {
        self.end(container, options, false)
    }

    /// Stops a container and starts it again; one that does not run is started.
    ///
    /// # Errors
    /// When its state does not allow it, or it cannot be started.
    pub fn restart(&self, container: &Container, options: StopOptions) -> Result<(), EngineError> {
        container.permit(Verb::Restart)?;
        self.end(container, options, true)?;
        self.start(&self.containers().reload(container)?)?;
        events::emit(self.root(), container, "restart", &[]);
        Ok(())
    }

    /// Ends a container; with `keep` also one that is to be removed when it ends stays.
    fn end(&self, container: &Container, options: StopOptions, keep: bool) -> Result<(), EngineError> {
        let StopOptions { signal, timeout } = options;
        self.ask(container, Verb::Stop, &ClientMessage::Stop { signal, timeout, keep }).map(drop)
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// When its state does not allow it, or its monitor is lost.
    pub fn kill(&self, container: &Container, signal: i32) -> Result<(), EngineError> {
        self.ask(container, Verb::Kill, &ClientMessage::Kill { signal }).map(drop)
    }

    /// Stops a container's virtual processors: everything in it stands still.
    ///
    /// # Errors
    /// When its state does not allow it, or its monitor is lost.
    pub fn pause(&self, container: &Container) -> Result<(), EngineError> {
        self.ask(container, Verb::Pause, &ClientMessage::Pause).map(drop)
    }

    /// Lets the virtual processors of a paused container run again.
    ///
    /// # Errors
    /// When its state does not allow it, or its monitor is lost.
    pub fn unpause(&self, container: &Container) -> Result<(), EngineError> {
        self.ask(container, Verb::Unpause, &ClientMessage::Unpause).map(drop)
    }

    /// Waits until a container has ended and gives Docker's exit code for it.
    ///
    /// # Errors
    /// When it is removed meanwhile, or its monitor is lost.
    pub fn wait(&self, container: &Container) -> Result<u8, EngineError> {
        match self.ask(container, Verb::Wait, &ClientMessage::Wait)? {
            Answered::Monitor(MonitorMessage::Exited { code, .. } | MonitorMessage::Failed { code, .. }) => {
                Ok(code)
            }
            Answered::Idle(container) => Ok(container.state.exit_code),
            Answered::Monitor(_) | Answered::Already => Err(self.gone(container)),
        }
    }

    /// Changes what a container may use. Processor time and the number of processes change at once; a container that
    /// runs can be left with less memory, but not get more than it was started with.
    ///
    /// # Errors
    /// When the container cannot have that, another command is busy with it, or a record cannot be written.
    pub fn update(&self, container: &Container, update: ResourceUpdate) -> Result<(), EngineError> {
        match self.ask(container, Verb::Update, &ClientMessage::Update { update })? {
            Answered::Idle(container) => {
                let mut held = self.hold_to_change(&container)?;
                Ok(self.containers().update(&mut held.container, &update)?)
            }
            Answered::Monitor(_) | Answered::Already => Ok(()),
        }
    }

    /// Gives a container another name, whether it runs or not.
    ///
    /// # Errors
    /// When the name is malformed or taken, another command is busy with it, or a record cannot be written; the old name
    /// then stays.
    pub fn rename(&self, container: &Container, name: &str) -> Result<(), EngineError> {
        match self.ask(container, Verb::Rename, &ClientMessage::Rename { name: name.to_owned() })? {
            Answered::Idle(container) => {
                let mut held = self.hold_to_change(&container)?;
                Ok(self.containers().rename(&mut held.container, name)?)
            }
            Answered::Monitor(_) | Answered::Already => Ok(()),
        }
    }
}
