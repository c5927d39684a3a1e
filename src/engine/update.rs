//! Changing a container that exists: its name, and what it may use.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::config::Resources;
use super::container::Container;
use super::restart::RestartPolicy;
use super::{Engine, EngineError, names};
use crate::record;

/// What `update` changes; what is left out stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceUpdate {
    /// The guest's memory in MiB.
    pub memory_mib: Option<u32>,
    /// Processor time in thousandths of one processor.
    pub milli_cpus: Option<NonZeroU32>,
    /// How many processes it may have; 0 for as many as it likes.
    pub pids_limit: Option<u32>,
    /// When it starts again by itself.
    pub restart: Option<RestartPolicy>,
}

impl ResourceUpdate {
    /// What `before` becomes.
    pub fn apply(&self, before: Resources) -> Resources {
        Resources {
            memory_mib: self.memory_mib.unwrap_or(before.memory_mib),
            milli_cpus: self.milli_cpus.or(before.milli_cpus),
            pids_limit: self.pids_limit.map_or(before.pids_limit, NonZeroU32::new),
        }
    }
}

impl Engine {
    /// Changes what a container that does not run may use.
    ///
    /// # Errors
    /// As [`Engine::update_held`], and when another command is busy with it.
    pub fn update(&self, container: &Container, update: &ResourceUpdate) -> Result<(), EngineError> {
        let held = self.hold_idle(container)?;
        let mut held = held.ok_or_else(|| EngineError::Busy(container.config.name.clone()))?;
        self.update_held(&mut held.container, update)
    }

    /// Gives a container that does not run another name.
    ///
    /// # Errors
    /// As [`Engine::rename_held`], and when another command is busy with it.
    pub fn rename(&self, container: &Container, name: &str) -> Result<(), EngineError> {
        let held = self.hold_idle(container)?;
        let mut held = held.ok_or_else(|| EngineError::Busy(container.config.name.clone()))?;
        self.rename_held(&mut held.container, name)
    }

    /// Records what a container may use from now on. Only the holder of its lock may.
    ///
    /// # Errors
    /// When a policy does not go with the container, or the record cannot be written.
    pub fn update_held(&self, container: &mut Container, update: &ResourceUpdate) -> Result<(), EngineError> {
        let mut config = container.config.clone();
        config.resources = update.apply(config.resources);
        if let Some(restart) = update.restart {
            if config.auto_remove && restart != RestartPolicy::No {
                return Err(EngineError::Invalid(
                    "a container that is removed when it ends (--rm) cannot have a restart policy".to_owned(),
                ));
            }
            config.restart = restart;
        }
        record::write(&container.directory.config(), &config)?;
        container.config = config;
        super::events::emit(self.root(), container, "update", &[]);
        Ok(())
    }

    /// Gives a container another name. Only the holder of its lock may.
    ///
    /// # Errors
    /// When the name is malformed or taken, or a record cannot be written; the old name then stays.
    pub fn rename_held(&self, container: &mut Container, name: &str) -> Result<(), EngineError> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let _frozen = self.freeze()?;
        names::take(self.root(), name, container.id())?;
        let old = std::mem::replace(&mut container.config.name, name.to_owned());
        if let Err(e) = record::write(&container.directory.config(), &container.config) {
            names::release(self.root(), name, container.id());
            container.config.name = old;
            return Err(e.into());
        }
        // A crash before this leaves two names for one container; the next rename or removal takes both back.
        names::release(self.root(), &old, container.id());
        self.networks().rename(container.id(), name)?;
        super::events::emit(self.root(), container, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }
}
