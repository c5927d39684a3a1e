//! The verbs on images: between the store, archives and registries, each with its events.

mod import;
mod load;
mod pull;
mod push;
mod remove;
mod save;
mod tag;
#[cfg(test)]
mod tests;

pub use import::ImportRequest;
pub use pull::{EnsureRequest, PullPolicy, PullProgress, PullRequest, PulledImage};
pub use push::{PushProgress, PushRequest, PushedImage};

/// What requests and answers speak of.
pub use moat_images::config::Change;
pub use moat_images::registry::{Platform, PullEvent, PushEvent, Pushed};
pub use moat_images::store::{
    Arrival, Checked, Digest, Image, ImageId, ImageUsage, LoadEvent, Loaded, Reference, Removed, Replaced,
    Usage, WantedLayer,
};

use moat_images::registry::{Config, Credentials, RegistryError};
use moat_images::store::StoreError;

use crate::{Engine, EngineError};

impl Engine {
    /// The image that `name` names or identifies.
    ///
    /// # Errors
    /// When there is none, or several, or the store cannot be read.
    pub fn image(&self, name: &str) -> Result<Image, EngineError> {
        Ok(self.store().resolve(name)?)
    }

    /// The image that `name` names or identifies; nothing when there is none, or the word cannot be an image's name.
    ///
    /// # Errors
    /// When there are several, or the store cannot be read.
    pub fn find_image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        match self.store().resolve(name) {
            Ok(image) => Ok(Some(image)),
            Err(StoreError::NoSuchImage(_) | StoreError::Reference(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// All images.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>, EngineError> {
        Ok(self.store().list()?)
    }

    /// How much of the disk images take, what they share counted once.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn image_usage(&self) -> Result<Usage, EngineError> {
        Ok(self.store().usage()?)
    }

    /// Reads every byte of the store and compares it with its digest.
    ///
    /// # Errors
    /// When the store cannot be read at all; what is damaged in it is in the answer.
    pub fn check(&self) -> Result<Checked, EngineError> {
        Ok(self.store().check()?)
    }
}

/// How registries are reached, and the user's credentials for them.
pub(crate) fn registries() -> Result<(Config, Credentials), EngineError> {
    Ok((Config::read()?, Credentials::read().map_err(RegistryError::from)?))
}

/// Refuses a name by digest for an image that is made or tagged here: a registry gives such names.
pub(crate) fn refuse_digest(name: Option<&Reference>) -> Result<(), EngineError> {
    match name.and_then(Reference::digest) {
        Some(_) => Err(EngineError::TagWithDigest),
        None => Ok(()),
    }
}
