//! `container prune`.

use moat_records::kind::ErrorKind;

use super::{Pruned, Selection};
use crate::{Engine, EngineError};

impl Engine {
    /// Removes the containers that do not run.
    pub(super) fn prune_containers(
        &self,
        selection: &Selection,
        pruned: &mut Pruned,
    ) -> Result<(), EngineError> {
        for container in self.list()? {
            if container.state.status.is_live()
                || !selection.takes(Some(container.config.created), &container.config.labels)
            {
                continue;
            }
            let written = self.written(&container);
            match self.remove(&container, false) {
                Ok(()) => {
                    pruned.containers.push(container.id().clone());
                    pruned.reclaimed = pruned.reclaimed.saturating_add(written);
                }
                // Another command has started, taken or removed it meanwhile: it is not to be pruned any more.
                Err(e) if is_taken(e.kind()) => {}
                Err(e) => pruned.faults.push(e),
            }
        }
        Ok(())
    }
}

fn is_taken(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::IllegalState | ErrorKind::Busy | ErrorKind::NotFound)
}
