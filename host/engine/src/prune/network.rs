//! `network prune`.

use moat_network::NetworkError;

use super::{Pruned, Selection};
use crate::{Engine, EngineError};

impl Engine {
    /// Removes the networks that no running container is on.
    pub(super) fn prune_networks(
        &self,
        selection: &Selection,
        pruned: &mut Pruned,
    ) -> Result<(), EngineError> {
        for network in self.networks().list()? {
            if network.is_default() || !selection.takes(Some(network.created), &network.labels) {
                continue;
            }
            match self.remove_found_network(&network) {
                Ok(()) => pruned.networks.push(network.name),
                Err(EngineError::Network(NetworkError::InUse { .. })) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
