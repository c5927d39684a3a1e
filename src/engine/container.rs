//! One container on disk.
//!
//! ```text
//! containers/ID/
//!   lock            held by whoever creates, runs or removes the container: liveness is this lock
//!   config.json     written last when created and removed first: without it the directory is a remnant
//!   state.json
//!   writable.ext4   the writable disk
//!   monitor.sock    where its monitor listens
//!   log, log.1 ...  its output
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::EngineError;
use super::cgroup::Cgroup;
use super::config::ContainerConfig;
use super::id::ContainerId;
use super::state::{Permit, State, Verb};
use crate::halt;
use crate::network::Networks;
use crate::record::{self, Lock};
use crate::root::Root;

/// The directory of one container.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory of container `id`, whether it exists or not.
    pub fn of(root: &Root, id: &ContainerId) -> Self {
        Self(root.containers().join(id.as_str()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The writable disk.
    pub fn writable(&self) -> PathBuf {
        self.0.join("writable.ext4")
    }

    /// The lock.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// The state.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Removes everything in it and itself, the configuration first: what an interruption leaves is a remnant.
    pub(super) fn remove(&self) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        gone(fs::remove_file(self.config()))?;
        halt::point("remove.config-gone");
        gone(fs::remove_dir_all(&self.0))
    }
}

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
    pub fn read(root: &Root, id: &ContainerId) -> Result<Self, EngineError> {
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
    pub fn permit(&self, verb: Verb) -> Result<Permit, EngineError> {
        self.state
            .status
            .permit(verb)
            .map_err(|illegal| EngineError::Illegal { name: self.config.name.clone(), illegal })
    }

    /// Whether its record is true without looking any further: nothing of it runs, or may run.
    pub(super) fn needs_no_repair(&self) -> bool {
        !self.state.status.is_live() && !Cgroup::of(self.id()).exists()
    }

    /// Replaces its state. Only the holder of the lock may.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn set_state(&mut self, state: State) -> Result<(), EngineError> {
        record::write(&self.directory.state(), &state)?;
        self.state = state;
        Ok(())
    }

    /// Removes it and everything it left on the host. `_lock` shows that nobody runs it.
    ///
    /// # Errors
    /// When something of it cannot be removed; it can be tried again.
    pub fn remove(&self, root: &Root, _lock: &Lock) -> Result<(), EngineError> {
        halt::point("remove.locked");
        Cgroup::of(self.id()).destroy()?;
        Networks::of(root).release(self.id())?;
        super::names::release(root, &self.config.name, self.id());
        halt::point("remove.name-released");
        super::socket::remove(&self.directory);
        self.directory
            .remove()
            .map_err(|source| EngineError::Remove { path: self.directory.path().to_owned(), source })
    }
}
