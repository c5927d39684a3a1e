//! Every verb once, from a typed request to a typed answer or refusal, with its events. The engine never prints.

pub mod archive;
mod configure;
mod create;
pub mod doctor;
mod error;
pub mod exec;
pub mod image;
mod info;
mod life;
pub mod login;
pub mod logs;
mod look;
pub mod networks;
pub mod output;
mod processes;
pub mod prune;
mod reach;
mod remove;
pub mod session;
mod size;
mod start;
pub mod stats;
mod usage;

use moat_containers::Containers;
use moat_images::store::ImageStore;
use moat_network::Networks;

pub use create::CreateOptions;
pub use error::EngineError;
pub use info::{HostInfo, Info};
pub use life::StopOptions;
/// The words that requests and answers are made of.
pub use moat_containers::{Container, ContainerError, ResourceUpdate, config, health, restart};
pub use moat_network::{endpoint, mac, port, record as network_record, request};
pub use moat_records::journal;
pub use moat_records::kind::ErrorKind;
pub use moat_records::root::{DEFAULT_ROOT, Root};
pub use usage::{ContainerSpace, DiskUsage, ImageSpace, Space};

/// The version of the protocol that monitors speak with their guests.
pub const GUEST_PROTOCOL: u8 = moat_protocol::VERSION;

/// The containers, images and networks under one root directory.
pub struct Engine {
    root: Root,
    containers: Containers,
    store: ImageStore,
}

impl Engine {
    /// The engine of `root`.
    ///
    /// # Errors
    /// When the image store cannot be opened.
    pub fn open(root: Root) -> Result<Self, EngineError> {
        let store = ImageStore::open(&root)?;
        Ok(Self { containers: Containers::of(&root), root, store })
    }

    /// The root directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The images.
    pub fn store(&self) -> &ImageStore {
        &self.store
    }

    /// The containers.
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// The container that `wanted` names: a name, an id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn find(&self, wanted: &str) -> Result<Container, EngineError> {
        Ok(self.containers.find(wanted)?)
    }

    /// All containers, the newest first. What crashes left behind is repaired on the way.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn list(&self) -> Result<Vec<Container>, EngineError> {
        Ok(self.containers.all()?)
    }

    /// The networks.
    pub fn networks(&self) -> Networks {
        Networks::of(&self.root)
    }

    /// The error about a container that was there a moment ago.
    fn gone(&self, container: &Container) -> EngineError {
        ContainerError::NotFound(container.config.name.clone()).into()
    }
}
