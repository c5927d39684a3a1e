//! The prunes: removing what is not in use.

mod container;
mod image;
mod network;
mod selection;

use moat_images::store::Removed;
use moat_records::id::ContainerId;

pub use selection::{LabelFilter, Selection};

use crate::{Engine, EngineError};

/// What to prune.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Containers that do not run.
    pub containers: bool,
    /// Networks that no running container is on.
    pub networks: bool,
    /// Images that no container was made from, and what interrupted pulls left.
    pub images: Option<UnusedImages>,
    /// Which of all these.
    pub selection: Selection,
}

/// Which unused images are pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnusedImages {
    /// Those without a name.
    Dangling,
    /// All.
    All,
}

/// What a prune has removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Containers.
    pub containers: Vec<ContainerId>,
    /// Networks, by name.
    pub networks: Vec<String>,
    /// Names of images, images and layers.
    pub images: Vec<Removed>,
    /// The bytes that this gave back.
    pub reclaimed: u64,
    /// Why single containers and images could not be removed; the prune went on after each.
    pub faults: Vec<EngineError>,
    /// What ended the prune before its time.
    pub failure: Option<EngineError>,
}

impl Engine {
    /// Removes what is not in use: containers first, because they use networks and images.
    pub fn prune(&self, request: &PruneRequest) -> Pruned {
        let mut pruned = Pruned::default();
        pruned.failure = self.prune_into(request, &mut pruned).err();
        pruned
    }

    fn prune_into(&self, request: &PruneRequest, pruned: &mut Pruned) -> Result<(), EngineError> {
        if request.containers {
            self.prune_containers(&request.selection, pruned)?;
        }
        if request.networks {
            self.prune_networks(&request.selection, pruned)?;
        }
        if let Some(which) = request.images {
            self.prune_images(which, &request.selection, pruned)?;
        }
        Ok(())
    }
}
