//! `push`: images of the store to a registry.

use moat_images::events;
use moat_images::registry::{self, Client, PushEvent, RegistryError};
use moat_images::store::{Digest, Image, Reference, StoreError};

use super::registries;
use crate::{Engine, EngineError};

/// What to push.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The image's name; with `all_tags` its repository is what counts.
    pub name: Reference,
    /// Every tag of the repository that the store has.
    pub all_tags: bool,
}

/// What a push reports on its way.
#[derive(Debug, Clone, Copy)]
pub enum PushProgress<'a> {
    /// The push of one image goes on.
    Step(PushEvent<'a>),
    /// One image is at the registry.
    Done(&'a PushedImage),
}

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    /// Its name.
    pub name: Reference,
    /// The digest that the registry has under the name.
    pub digest: Digest,
    /// The size of its manifest, in bytes.
    pub size: u64,
}

impl Engine {
    /// Pushes an image, or all tags of a repository. `seen` hears how each one gets on.
    ///
    /// # Errors
    /// When the store has nothing under the name, or the registry does not take it; what was pushed before stays there.
    pub fn push(
        &self,
        request: &PushRequest,
        seen: &(dyn Fn(&Reference, PushProgress<'_>) + Sync),
    ) -> Result<Vec<PushedImage>, EngineError> {
        let wanted = self.to_push(request)?;
        let registry = request.name.registry();
        let (config, credentials) = registries()?;
        let login = credentials.get(registry).map_err(RegistryError::from)?;
        let client = Client::connect(registry, &config, login)?;
        let push = |(name, image): (Reference, Image)| {
            let step = |event: PushEvent<'_>| seen(&name, PushProgress::Step(event));
            let (digest, size) = registry::push(self.store(), &client, &image, &name, &step)
                .map_err(|cause| EngineError::Push { image: name.familiar(), cause: Box::new(cause) })?;
            events::emit(self.root(), "push", &name.familiar(), &name.familiar_name());
            let pushed = PushedImage { name: name.clone(), digest, size };
            seen(&name, PushProgress::Done(&pushed));
            Ok(pushed)
        };
        wanted.into_iter().map(push).collect()
    }

    /// The images that are pushed, by name.
    fn to_push(
        &self,
        PushRequest { name, all_tags }: &PushRequest,
    ) -> Result<Vec<(Reference, Image)>, EngineError> {
        if *all_tags {
            let ours = |known: &Reference| known.is_same_repository(name) && known.tag().is_some();
            let mut wanted: Vec<(Reference, Image)> = Vec::new();
            for image in self.store().list()? {
                let names = image.references.iter().filter(|known| ours(known));
                wanted.extend(names.map(|known| (known.clone(), image.clone())));
            }
            if !wanted.is_empty() {
                wanted.sort_by(|a, b| a.0.cmp(&b.0));
                return Ok(wanted);
            }
        }
        match self.store().resolve(&name.to_string()) {
            Ok(image) if !all_tags && image.references.contains(name) => Ok(vec![(name.clone(), image)]),
            Ok(_) if name.digest().is_some() => Err(EngineError::PushDigest),
            // The image's own damage says more than that it is not there.
            Err(e) if !matches!(e, StoreError::NoSuchImage(_)) => Err(e.into()),
            _ => Err(EngineError::NoLocalTag(name.familiar_name())),
        }
    }
}
