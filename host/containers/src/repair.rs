//! The repair of what crashes left.

use jiff::Timestamp;
use moat_records::id::ContainerId;
use moat_records::record::{self, Lock};

use crate::cgroup::Cgroup;
use crate::{Container, ContainerError, Containers, Directory, events, names, socket};

impl Containers {
    /// Reads a container and repairs what a crash left. Nothing when it is gone.
    pub(crate) fn load(&self, id: &ContainerId) -> Result<Option<Container>, ContainerError> {
        match Container::read(self.root(), id) {
            Ok(container) if container.needs_no_repair() => Ok(Some(container)),
            Ok(container) => self.repair(container),
            Err(ContainerError::Record(e)) if e.is_not_found() => {
                self.sweep(id)?;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Tells the truth about a container that is recorded as running, and cleans up after one that was looked into.
    fn repair(&self, container: Container) -> Result<Option<Container>, ContainerError> {
        let Some(lock) = Lock::attempt(&container.directory.lock())? else { return Ok(Some(container)) };
        // It may have ended, or even been removed, between the reading and the locking.
        let mut container = match Container::read(self.root(), container.id()) {
            Ok(container) => container,
            Err(ContainerError::Record(e)) if e.is_not_found() => {
                drop(lock);
                self.sweep(container.id())?;
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        Cgroup::of(container.id()).destroy()?;
        self.networks().release(container.id())?;
        socket::remove(&container.directory);
        if !container.state.status.is_live() {
            return Ok(Some(container));
        }
        if container.config.auto_remove {
            container.remove(self.root(), &lock)?;
            return Ok(None);
        }
        container.set_state(container.state.clone().lost(Timestamp::now()))?;
        events::emit_die(self.root(), &container, &container.state);
        Ok(Some(container))
    }

    /// Removes the directory of a container whose creation or removal was interrupted.
    fn sweep(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let directory = Directory::of(self.root(), id);
        if !directory.path().exists() {
            return Ok(());
        }
        // A container that is being created has no lock for a moment, but its creator holds the set. The holder, which
        // may be this process, is not waited for: the next command sweeps.
        let Some(_all) = Lock::attempt(&self.root().containers_lock())? else { return Ok(()) };
        let Some(_lock) = Lock::attempt(&directory.lock())? else { return Ok(()) };
        if record::read_document::<serde_json::Value>(&directory.config()).is_err_and(|e| e.is_not_found()) {
            Cgroup::of(id).destroy()?;
            self.networks().release(id)?;
            names::release_of(self.root(), id);
            directory
                .remove()
                .map_err(|source| ContainerError::Remove { path: directory.path().to_owned(), source })?;
        }
        Ok(())
    }
}
