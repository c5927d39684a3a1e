//! Containers: their records, their states and the verbs on them. The engine never prints.
//!
//! There is no daemon: every call works on files under the root directory. A container that runs has a monitor
//! process ([`crate::monitor`]), which holds the container's lock; a record that says "running" under a free lock was
//! left by a crash, and whoever reads it first repairs it.

pub mod artifacts;
pub mod cgroup;
pub mod config;
mod configure;
pub mod container;
mod create;
pub mod event_log;
pub mod events;
pub mod health;
pub mod id;
pub mod log;
mod names;
mod network;
mod reach;
mod remove;
pub mod restart;
pub mod signal;
mod size;
pub mod socket;
mod start;
pub mod state;
mod update;

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;

pub(crate) use configure::merge_env;
pub use create::CreateOptions;
pub use reach::Reached;
pub use start::{Held, MonitorStart, Purpose};
pub use update::ResourceUpdate;

use crate::network::{NetworkError, Networks};
use crate::record::{self, Lock, RecordError};
use crate::root::Root;
use crate::store::{ImageStore, StoreError};
use cgroup::{Cgroup, CgroupError};
use container::{Container, Directory};
use id::ContainerId;
use state::Illegal;

/// What can go wrong with a container.
#[derive(Debug, Error)]
pub enum EngineError {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Several containers have ids that start so.
    #[error("multiple containers have ids that start with {0}; give more digits")]
    Ambiguous(String),
    /// The name cannot be a container's.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    BadName(String),
    /// The name is another container's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        holder: ContainerId,
    },
    /// Its state does not allow what was asked.
    #[error("{}", illegal.of(name))]
    Illegal {
        /// The container's name.
        name: String,
        /// What was asked, and of which state.
        illegal: Illegal,
    },
    /// Somebody else is at work on it.
    #[error("container {0} is in use by another command; try again when that is done")]
    Busy(String),
    /// Its monitor did not end although its VM was killed.
    #[error("container {0} was killed but its monitor has not ended; try again")]
    Stuck(ContainerId),
    /// The image is for other machines.
    #[error(
        "the image {image} is for {platform} and virtual machines here are linux/amd64; load an image for that"
    )]
    Platform {
        /// The image, as it was asked for.
        image: String,
        /// What it is for.
        platform: String,
    },
    /// There is nothing to run.
    #[error("no command specified: the image has no CMD and no ENTRYPOINT; name a command after the image")]
    NoCommand,
    /// Something about what was asked is wrong.
    #[error("{0}")]
    Invalid(String),
    /// An image could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Networks could not be used.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A cgroup could not be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The writable disk could not be made.
    #[error("cannot create the writable disk: {0}")]
    Writable(#[from] moat_rootfs::writable::Error),
    /// A directory could not be removed.
    #[error("cannot remove {}: {source}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The host would not do something.
    #[error("cannot {action}: {source}")]
    Host {
        /// What was to be done.
        action: &'static str,
        /// What happened.
        source: io::Error,
    },
}

impl EngineError {
    pub(crate) fn host(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host { action, source }
    }
}

/// The containers and images under one root directory.
pub struct Engine {
    root: Root,
    store: ImageStore,
}

impl Engine {
    /// The engine of `root`.
    ///
    /// # Errors
    /// When the image store cannot be opened.
    pub fn open(root: Root) -> Result<Self, EngineError> {
        let store = ImageStore::open(&root)?;
        Ok(Self { root, store })
    }

    /// The root directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The images.
    pub fn store(&self) -> &ImageStore {
        &self.store
    }

    /// The networks.
    pub fn networks(&self) -> Networks {
        Networks::of(&self.root)
    }

    /// Holds the set of containers still: none is created, no name is taken.
    ///
    /// # Errors
    /// When the lock cannot be opened.
    pub fn freeze(&self) -> Result<Lock, EngineError> {
        Ok(Lock::wait(&self.root.containers_lock())?)
    }

    /// All containers, the newest first. What crashes left behind is repaired on the way.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let mut containers = Vec::new();
        for id in self.ids()? {
            containers.extend(self.load(&id)?);
        }
        containers.sort_by_key(|container| std::cmp::Reverse(container.config.created));
        Ok(containers)
    }

    /// The container that `wanted` names: a name, an id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn find(&self, wanted: &str) -> Result<Container, EngineError> {
        let not_found = || EngineError::NotFound(wanted.to_owned());
        if let Some(id) = names::lookup(&self.root, wanted) {
            return self.load(&id)?.ok_or_else(not_found);
        }
        let hexadecimal = !wanted.is_empty() && wanted.bytes().all(|b| b.is_ascii_hexdigit());
        if !hexadecimal {
            return Err(not_found());
        }
        let mut matching = self.ids()?.into_iter().filter(|id| id.as_str().starts_with(wanted));
        let id = matching.next().ok_or_else(not_found)?;
        if matching.next().is_some() {
            return Err(EngineError::Ambiguous(wanted.to_owned()));
        }
        self.load(&id)?.ok_or_else(not_found)
    }

    /// The names of the containers made from image `image_id`.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn users_of(&self, image_id: &str) -> Result<Vec<Container>, EngineError> {
        let mut containers = self.containers()?;
        containers.retain(|container| container.config.image_id == image_id);
        Ok(containers)
    }

    /// The container as it is now.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    pub fn reload(&self, container: &Container) -> Result<Container, EngineError> {
        self.load(container.id())?.ok_or_else(|| EngineError::NotFound(container.config.name.clone()))
    }

    fn ids(&self) -> Result<Vec<ContainerId>, EngineError> {
        let entries =
            std::fs::read_dir(self.root.containers()).map_err(EngineError::host("list the containers"))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Reads a container and repairs what a crash left. Nothing when it is gone.
    fn load(&self, id: &ContainerId) -> Result<Option<Container>, EngineError> {
        match Container::read(&self.root, id) {
            Ok(container) if container.needs_no_repair() => Ok(Some(container)),
            Ok(container) => self.repair(container),
            Err(EngineError::Record(e)) if e.is_not_found() => {
                self.sweep(id)?;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Tells the truth about a container that is recorded as running, and cleans up after one that was looked into.
    fn repair(&self, container: Container) -> Result<Option<Container>, EngineError> {
        let Some(lock) = Lock::attempt(&container.directory.lock())? else { return Ok(Some(container)) };
        // It may have ended, or even been removed, between the reading and the locking.
        let mut container = match Container::read(&self.root, container.id()) {
            Ok(container) => container,
            Err(EngineError::Record(e)) if e.is_not_found() => {
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
            container.remove(&self.root, &lock)?;
            return Ok(None);
        }
        container.set_state(container.state.clone().lost(Timestamp::now()))?;
        events::emit_die(&self.root, &container, &container.state);
        Ok(Some(container))
    }

    /// Removes the directory of a container whose creation or removal was interrupted.
    fn sweep(&self, id: &ContainerId) -> Result<(), EngineError> {
        let directory = Directory::of(&self.root, id);
        if !directory.path().exists() {
            return Ok(());
        }
        // A container that is being created has no lock for a moment, but its creator holds the set. Whoever holds it,
        // this process included, is not waited for: the next command sweeps.
        let Some(_frozen) = Lock::attempt(&self.root.containers_lock())? else { return Ok(()) };
        let Some(_lock) = Lock::attempt(&directory.lock())? else { return Ok(()) };
        if record::read::<serde_json::Value>(&directory.config()).is_err_and(|e| e.is_not_found()) {
            Cgroup::of(id).destroy()?;
            self.networks().release(id)?;
            names::release_of(&self.root, id);
            directory
                .remove()
                .map_err(|source| EngineError::Remove { path: directory.path().to_owned(), source })?;
        }
        Ok(())
    }
}
