//! Removing a container.

use std::time::{Duration, Instant};

use moat_containers::cgroup::Cgroup;
use moat_containers::state::Verb;
use moat_containers::{Container, ContainerError, events};
use moat_records::record::Lock;
use moat_records::signal;

use crate::{Engine, EngineError};

/// How long a killed container's monitor may take to write its last record.
const KILL_LIMIT: Duration = Duration::from_secs(30);

impl Engine {
    /// Removes a container; one that runs only with `force`, which kills it.
    ///
    /// # Errors
    /// When it runs and `force` is not given, or something of it cannot be removed.
    pub fn remove(&self, container: &Container, force: bool) -> Result<(), EngineError> {
        if !force {
            container.permit(Verb::Remove)?;
        }
        let lock = if force { self.lock_by_force(container)? } else { self.lock_idle(container)? };
        // A monitor that ended meanwhile may have removed the container itself.
        let Some(lock) = lock else { return Ok(()) };
        self.remove_held(container, &lock)
    }

    /// Removes a container that is locked.
    pub(crate) fn remove_held(&self, container: &Container, lock: &Lock) -> Result<(), EngineError> {
        container.remove(self.root(), lock)?;
        events::emit(self.root(), container, "destroy", &[]);
        Ok(())
    }

    /// Locks a container that does not run.
    fn lock_idle(&self, container: &Container) -> Result<Option<Lock>, EngineError> {
        match self.containers().hold_idle(container) {
            Ok(Some(held)) => {
                held.container.permit(Verb::Remove)?;
                Ok(Some(held.lock))
            }
            // It was started since it was looked at.
            Ok(None) => {
                self.containers().reload(container)?.permit(Verb::Remove)?;
                Err(ContainerError::Busy(container.config.name.clone()).into())
            }
            Err(ContainerError::NotFound(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn lock_by_force(&self, container: &Container) -> Result<Option<Lock>, EngineError> {
        match Lock::attempt(&container.directory.lock()) {
            Err(e) if e.is_not_found() => Ok(None),
            Ok(None) => self.kill_vm(container),
            other => Ok(other?),
        }
    }

    /// Kills a container's VM and waits until its monitor is done with it. No lock means that it is gone altogether.
    fn kill_vm(&self, container: &Container) -> Result<Option<Lock>, EngineError> {
        if container.state.status.is_live() {
            events::emit(self.root(), container, "kill", &[("signal", signal::KILL.to_string())]);
        }
        let deadline = Instant::now() + KILL_LIMIT;
        while Instant::now() < deadline {
            Cgroup::of(container.id()).destroy().map_err(ContainerError::from)?;
            if !container.directory.config().exists() {
                return Ok(None);
            }
            match Lock::attempt(&container.directory.lock()) {
                Err(e) if e.is_not_found() => return Ok(None),
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                other => return Ok(other?),
            }
        }
        Err(EngineError::Stuck(container.id().clone()))
    }
}
