//! Changing which networks a container joins.

use super::container::Container;
use super::start::Held;
use super::{Engine, EngineError};
use crate::network::NetworkError;
use crate::network::request::{Join, NetworkRequest};
use crate::record;

impl Engine {
    /// Has a container that does not run join one more network when it starts.
    ///
    /// # Errors
    /// When another command is busy with it, it is on the network already, or the network cannot give what is asked of it.
    pub fn connect(&self, container: &Container, join: Join) -> Result<(), EngineError> {
        let mut held = self.hold_to_change(container)?;
        self.connect_held(&mut held.container, join)
    }

    /// Has a container that does not run start without a network from now on.
    ///
    /// # Errors
    /// When another command is busy with it, or it is not on the network.
    pub fn disconnect(&self, container: &Container, network: &str) -> Result<(), EngineError> {
        let mut held = self.hold_to_change(container)?;
        self.disconnect_held(&mut held.container, network)
    }

    /// Records that a container joins one more network. Only the holder of its lock may.
    ///
    /// # Errors
    /// When it is on the network already, that cannot give what is asked of it, or the record cannot be written.
    pub fn connect_held(&self, container: &mut Container, join: Join) -> Result<(), EngineError> {
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
    pub fn disconnect_held(&self, container: &mut Container, network: &str) -> Result<(), EngineError> {
        let mut request = container.config.network.clone();
        let Some(position) = self.position(&request, network) else {
            return Err(EngineError::Invalid(format!(
                "container {} is not connected to network {network}",
                container.config.name
            )));
        };
        request.networks.remove(position);
        change(container, request)
    }

    fn hold_to_change(&self, container: &Container) -> Result<Held, EngineError> {
        self.hold_idle(container)?.ok_or_else(|| EngineError::Busy(container.config.name.clone()))
    }

    /// Where a container's wishes have the network, by whatever name it was given.
    fn position(&self, request: &NetworkRequest, network: &str) -> Option<usize> {
        let is_it = |join: &Join| {
            join.network == network
                || self.networks().find(&join.network).is_ok_and(|found| found.name == network)
        };
        request.networks.iter().position(is_it)
    }
}

fn change(container: &mut Container, request: NetworkRequest) -> Result<(), EngineError> {
    let mut config = container.config.clone();
    config.network = request;
    record::write(&container.directory.config(), &config)?;
    container.config = config;
    Ok(())
}
