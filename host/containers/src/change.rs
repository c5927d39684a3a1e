//! Changes of a container's records that its holder makes: its name, what it may use, which networks it joins.

use std::num::NonZeroU32;

use moat_network::NetworkError;
use moat_network::request::{Join, NetworkRequest};
use moat_records::record;
use serde::{Deserialize, Serialize};

use crate::config::Resources;
use crate::restart::RestartPolicy;
use crate::{Container, ContainerError, Containers, events, names};

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

impl Containers {
    /// Records what a container may use from now on. Only the holder of its lock may.
    ///
    /// # Errors
    /// When a policy does not go with the container, or the record cannot be written.
    pub fn update(&self, container: &mut Container, update: &ResourceUpdate) -> Result<(), ContainerError> {
        let mut config = container.config.clone();
        config.resources = update.apply(config.resources);
        if let Some(restart) = update.restart {
            if config.auto_remove && restart != RestartPolicy::No {
                return Err(ContainerError::RestartOfRemoved);
            }
            config.restart = restart;
        }
        record::write(&container.directory.config(), &config)?;
        container.config = config;
        events::emit(self.root(), container, "update", &[]);
        Ok(())
    }

    /// Gives a container another name. Only the holder of its lock may.
    ///
    /// # Errors
    /// When the name is malformed or taken, or a record cannot be written; the old name then stays.
    pub fn rename(&self, container: &mut Container, name: &str) -> Result<(), ContainerError> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let _all = self.lock_all()?;
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
        events::emit(self.root(), container, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// Records that a container joins one more network. Only the holder of its lock may.
    ///
    /// # Errors
    /// When it is on the network already, that cannot give what is asked of it, or the record cannot be written.
    pub fn connect(&self, container: &mut Container, join: Join) -> Result<(), ContainerError> {
        let mut request = container.config.network.clone();
        if self.position(&request, &join.network).is_some() {
            let container = container.config.name.clone();
            return Err(NetworkError::AlreadyJoined { container, network: join.network }.into());
        }
        request.networks.push(join);
        self.networks().check(&request)?;
        change(container, request)
    }

    /// Records that a container is no longer on a network. Only the holder of its lock may.
    ///
    /// # Errors
    /// When it is not on the network, or the record cannot be written.
    pub fn disconnect(&self, container: &mut Container, network: &str) -> Result<(), ContainerError> {
        let mut request = container.config.network.clone();
        let Some(position) = self.position(&request, network) else {
            return Err(ContainerError::NotConnected {
                container: container.config.name.clone(),
                network: network.to_owned(),
            });
        };
        request.networks.remove(position);
        change(container, request)
    }

    /// Where a container's wishes have the network, which may be given there by its id or its name.
    fn position(&self, request: &NetworkRequest, network: &str) -> Option<usize> {
        let is_it = |join: &Join| {
            join.network == network
                || self.networks().find(&join.network).is_ok_and(|found| found.name == network)
        };
        request.networks.iter().position(is_it)
    }
}

fn change(container: &mut Container, request: NetworkRequest) -> Result<(), ContainerError> {
    let mut config = container.config.clone();
    config.network = request;
    record::write(&container.directory.config(), &config)?;
    container.config = config;
    Ok(())
}
