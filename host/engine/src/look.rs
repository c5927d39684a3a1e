//! What is known of a container beyond its records.

use moat_containers::Container;
use moat_containers::cgroup::Cgroup;
use moat_network::endpoint::Attachment;
use moat_records::kind::ErrorKind;

use crate::{Engine, EngineError};

impl Engine {
    /// The container as it is now; nothing when it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn refresh(&self, container: &Container) -> Result<Option<Container>, EngineError> {
        match self.containers().reload(container) {
            Ok(container) => Ok(Some(container)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// A container's place in its networks; none when it does not run.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn attachment(&self, container: &Container) -> Result<Option<Attachment>, EngineError> {
        if !container.state.status.is_live() {
            return Ok(None);
        }
        Ok(self.networks().attachment(container.id())?)
    }

    /// The process of a container's VM on the host; none when it does not run.
    pub fn vm_process(&self, container: &Container) -> Option<u32> {
        let is_live = container.state.status.is_live();
        is_live.then(|| Cgroup::of(container.id()).processes().first().copied()).flatten()
    }
}
