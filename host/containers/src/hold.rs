//! Holding a container: its lock, and its records as they are under the lock.

use std::time::{Duration, Instant};

use moat_records::failpoint;
use moat_records::record::Lock;

use crate::state::{Permit, State, Verb};
use crate::{Container, ContainerError, Containers};

/// How long a container may be on its way from one state to the next.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before looking again.
pub const PAUSE: Duration = Duration::from_millis(5);

/// A container that is locked: no other process creates, runs, looks into or removes it.
pub struct Held {
    /// The container.
    pub container: Container,
    /// Its lock.
    pub lock: Lock,
    /// Its state when it was locked; none when it is new.
    pub before: Option<State>,
}

impl Containers {
    /// Holds a container that is to be started, and records it as running. Nothing when it runs already.
    ///
    /// # Errors
    /// When its state does not allow a start, or another command is busy with it.
    pub fn hold_to_start(&self, container: &Container) -> Result<Option<Held>, ContainerError> {
        let Some(mut held) = self.hold_idle(container)? else {
            let now = self.reload(container)?;
            return match now.permit(Verb::Start)? {
                Permit::Nothing => Ok(None),
                Permit::Go => Err(ContainerError::Busy(now.config.name)),
            };
        };
        match held.container.permit(Verb::Start)? {
            Permit::Nothing => return Ok(None),
            Permit::Go => {}
        }
        let starting = held.container.state.starting();
        held.container.set_state(starting)?;
        failpoint::hit("start.recorded");
        Ok(Some(held))
    }

    /// Locks a container that does not run and reads it again. Nothing when it runs. A process
    /// that only looks into it is waited for.
    ///
    /// # Errors
    /// When it is gone or cannot be read, or is looked into for too long.
    pub fn hold_idle(&self, container: &Container) -> Result<Option<Held>, ContainerError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(held) = self.hold(container)? {
                return Ok(Some(held));
            }
            if self.reload(container)?.state.status.is_live() {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Err(ContainerError::Busy(container.config.name.clone()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Locks a container and reads it again. Nothing when another process holds it.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    pub fn hold(&self, container: &Container) -> Result<Option<Held>, ContainerError> {
        let gone = || ContainerError::NotFound(container.config.name.clone());
        match Lock::attempt(&container.directory.lock()) {
            Ok(None) => Ok(None),
            Ok(Some(lock)) => match Container::read(self.root(), container.id()) {
                Ok(container) => Ok(Some(Held { before: Some(container.state.clone()), container, lock })),
                Err(ContainerError::Record(e)) if e.is_not_found() => Err(gone()),
                Err(e) => Err(e),
            },
            Err(e) if e.is_not_found() => Err(gone()),
            Err(e) => Err(e.into()),
        }
    }
}
