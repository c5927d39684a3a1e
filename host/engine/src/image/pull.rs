//! `pull`, and the pull that `run` and `create` begin with.

use moat_images::events;
use moat_images::registry::{self, Config, Credentials, Platform, PullEvent};
use moat_images::store::{Digest, Image, Reference, StoreError};

use super::registries;
use crate::{Engine, EngineError};

/// When the image of a new container is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Even if the store has it.
    Always,
    /// If the store does not have it.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image's name; with `all_tags` its repository is what counts.
    pub name: Reference,
    /// The platform that the image is for; this machine's when absent.
    pub platform: Option<Platform>,
    /// Every tag of the repository.
    pub all_tags: bool,
}

/// Which image a new container needs.
#[derive(Debug, Clone)]
pub struct EnsureRequest<'a> {
    /// The image's name or id.
    pub image: &'a str,
    /// When it is pulled.
    pub policy: PullPolicy,
    /// The platform that the image is for; this machine's when absent.
    pub platform: Option<Platform>,
}

/// What a pull reports on its way.
#[derive(Debug, Clone, Copy)]
pub enum PullProgress<'a> {
    /// The store does not have the image, so it is pulled.
    Missing,
    /// The pull of one image goes on.
    Step(PullEvent<'a>),
    /// One image is complete.
    Done(&'a PulledImage),
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// Its name.
    pub name: Reference,
    /// The digest that the registry has under the name.
    pub digest: Digest,
    /// Whether the store did not have it under this name.
    pub is_new: bool,
}

impl Engine {
    /// Pulls an image, or all tags of a repository. `seen` hears how each one gets on.
    ///
    /// # Errors
    /// When an image cannot be had; those before it are in the store.
    pub fn pull(
        &self,
        request: &PullRequest,
        seen: &(dyn Fn(&Reference, PullProgress<'_>) + Sync),
    ) -> Result<Vec<PulledImage>, EngineError> {
        let puller = Puller::new(self, request.platform.clone(), seen)?;
        if !request.all_tags {
            return Ok(vec![puller.pull(&request.name)?]);
        }
        let tags = registry::tags(&puller.config, &puller.credentials, &request.name)?;
        if tags.is_empty() {
            return Err(EngineError::NoTags(request.name.familiar_name()));
        }
        let pull = |tag: &String| puller.pull(&request.name.with_tag(tag).map_err(StoreError::from)?);
        tags.iter().map(pull).collect()
    }

    /// The image of a new container, pulled if the policy says so.
    ///
    /// # Errors
    /// When the store does not have the image and it is not to be pulled, or the pull fails.
    pub fn ensure(
        &self,
        request: &EnsureRequest<'_>,
        seen: &(dyn Fn(&Reference, PullProgress<'_>) + Sync),
    ) -> Result<Image, EngineError> {
        let missing = match (request.policy, self.store().resolve(request.image)) {
            (PullPolicy::Never, found) => return Ok(found?),
            (PullPolicy::Missing, Ok(image)) if suits(&image, request.platform.as_ref()) => return Ok(image),
            (PullPolicy::Missing, Err(e)) if !matches!(e, StoreError::NoSuchImage(_)) => return Err(e.into()),
            (_, found) => found,
        };
        let Ok(name) = request.image.parse::<Reference>() else {
            // An id is no name at a registry.
            return Ok(missing?);
        };
        if request.policy == PullPolicy::Missing {
            seen(&name, PullProgress::Missing);
        }
        Puller::new(self, request.platform.clone(), seen)?.pull(&name)?;
        Ok(self.store().resolve(request.image)?)
    }
}

/// Whether an image of the store is for the platform that is wanted.
fn suits(image: &Image, platform: Option<&Platform>) -> bool {
    let found = image.platform().parse::<Platform>();
    platform.is_none_or(|wanted| found.is_ok_and(|found| wanted.takes(&found)))
}

/// Pulls images one after the other.
struct Puller<'a> {
    engine: &'a Engine,
    config: Config,
    credentials: Credentials,
    platform: Option<Platform>,
    seen: &'a (dyn Fn(&Reference, PullProgress<'_>) + Sync),
}

impl<'a> Puller<'a> {
    fn new(
        engine: &'a Engine,
        platform: Option<Platform>,
        seen: &'a (dyn Fn(&Reference, PullProgress<'_>) + Sync),
    ) -> Result<Self, EngineError> {
        let (config, credentials) = registries()?;
        Ok(Self { engine, config, credentials, platform, seen })
    }

    fn pull(&self, name: &Reference) -> Result<PulledImage, EngineError> {
        let outcome = registry::pull(
            self.engine.store(),
            &self.config,
            &self.credentials,
            name,
            self.platform.as_ref(),
            &|event| (self.seen)(name, PullProgress::Step(event)),
        );
        let outcome =
            outcome.map_err(|cause| EngineError::Pull { image: name.familiar(), cause: Box::new(cause) })?;
        events::emit(self.engine.root(), "pull", &name.familiar(), &name.familiar_name());
        let is_new = outcome.loaded.is_some();
        let pulled = PulledImage { name: name.clone(), digest: outcome.digest, is_new };
        (self.seen)(name, PullProgress::Done(&pulled));
        Ok(pulled)
    }
}
