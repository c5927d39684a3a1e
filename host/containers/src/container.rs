//! One container, as its records have it.

use moat_network::Networks;
use moat_records::failpoint;
use moat_records::id::ContainerId;
use moat_records::record::{self, Lock};
use moat_records::root::Root;

use crate::cgroup::Cgroup;
use crate::config::ContainerConfig;
use crate::state::{Permit, State, Verb};
use crate::{ContainerError, Directory, names, socket, users};

/// A container: its configuration, and its state when it was read.
#[derive(Debug, Clone)]
pub struct Container {
    /// Where it lies.
    pub directory: Directory,
    /// What was decided when it was created.
    pub config: ContainerConfig,
    /// Where it is in its life.
    pub state: State,
}

impl Container {
    /// Reads container `id` as it is on disk, without checking whether its monitor is alive.
    ///
    /// # Errors
    /// When a record is missing or damaged.
    pub fn read(root: &Root, id: &ContainerId) -> Result<Self, ContainerError> {
        let directory = Directory::of(root, id);
        let config = record::read(&directory.config())?;
        let state = record::read(&directory.state())?;
        Ok(Self { directory, config, state })
    }

    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.config.id
    }

    /// What becomes of `verb` in the container's state.
    ///
    /// # Errors
    /// When it is illegal; the error names the container and the way out.
    pub fn permit(&self, verb: Verb) -> Result<Permit, ContainerError> {
        self.state
            .status
            .permit(verb)
            .map_err(|illegal| ContainerError::Illegal { name: self.config.name.clone(), illegal })
    }

    /// Whether its record is true without looking any further: nothing of it runs, or may run.
    pub(crate) fn needs_no_repair(&self) -> bool {
        !self.state.status.is_live() && !Cgroup::of(self.id()).exists()
    }

    /// Replaces its state. Only the holder of the lock may.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn set_state(&mut self, state: State) -> Result<(), ContainerError> {
        record::write(&self.directory.state(), &state)?;
        self.state = state;
        Ok(())
    }

    /// Removes it and everything it left on the host. `_lock` shows that no monitor runs it.
    ///
    /// # Errors
    /// When something of it cannot be removed; it can be tried again.
    pub fn remove(&self, root: &Root, _lock: &Lock) -> Result<(), ContainerError> {
        failpoint::hit("remove.locked");
        Cgroup::of(self.id()).destroy()?;
        Networks::of(root).release(self.id())?;
        names::release(root, &self.config.name, self.id());
        failpoint::hit("remove.name-released");
        socket::remove(&self.directory);
        let cannot = |source| ContainerError::Remove { path: self.directory.path().to_owned(), source };
        self.directory.remove_config().map_err(cannot)?;
        failpoint::hit("remove.config-gone");
        users::remove(root, &self.config.image_id, self.id())?;
        failpoint::hit("remove.user-gone");
        self.directory.remove().map_err(cannot)
    }
}
