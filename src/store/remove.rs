//! `rmi`: names and images out of the store.

use std::collections::HashSet;
use std::fs;

use super::digest::{Digest, ImageId};
use super::disk::index_key;
use super::error::StoreError;
use super::image::Image;
use super::layout::{Entry, Origin};
use super::reference::Reference;
use super::{Found, ImageStore, find, named_entry};

/// A container that was made from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id, as it is shown.
    pub container: String,
    /// Whether it is running or paused.
    pub running: bool,
}

/// What removing an image did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(Reference),
    /// An image or a layer is gone.
    Deleted(Digest),
}

impl ImageStore {
    /// Removes a name, and with its last name the image. By its id, an image goes with all its names. `force` does so also
    /// when containers use it, but what they need stays, without a name. `users` says which do; whoever makes containers
    /// must see to it that there are no new ones meanwhile.
    ///
    /// # Errors
    /// When there is no such image, when it is in use, or when the store cannot be changed.
    pub fn remove<E: From<StoreError>>(
        &self,
        name: &str,
        force: bool,
        users: impl FnOnce(&ImageId) -> Result<Vec<ImageUser>, E>,
    ) -> Result<Vec<Removed>, E> {
        let _lock = self.lock()?;
        let mut entries = self.layout.read_index()?;
        let images = self.images(&entries);
        let (image, reference) = match find(&images, name) {
            Ok(Found { image, reference }) => (&images[image], reference),
            Err(e) => return Ok(self.remove_damaged(entries, name).ok_or(e)??),
        };
        let users = users(&image.id)?;
        let names = match &reference {
            Some(reference) if image.references.contains(reference) => names_with(image, reference),
            // By its digest, an image goes with all the names that its repository gave it.
            Some(reference) => {
                let names = image.references.iter().filter(|name| name.is_same_repository(reference));
                names.cloned().collect()
            }
            None => image.references.clone(),
        };
        let last = names.len() == image.references.len();
        if last || reference.is_none() {
            refuse(image, reference.as_ref(), force, &users)?;
        }
        entries.retain(|entry| {
            entry.manifest != image.manifest
                || entry.reference.as_ref().is_some_and(|name| !names.contains(name))
        });
        if last && !users.is_empty() {
            // Only by force: its containers need it to start again.
            entries.push(self.nameless(image)?);
        }
        let deleted = self.apply(&entries)?;
        // As Docker has it: names, the image, its layers from the top. The manifest is the store's own affair.
        let layers = image.layers.iter().rev().map(|layer| layer.diff_id);
        let mut shown = Vec::new();
        for digest in std::iter::once(image.id.0).chain(layers) {
            if deleted.contains(&digest) && !shown.contains(&digest) {
                shown.push(digest);
            }
        }
        let digests = image.repo_digests.iter().filter(|digest| {
            let names_left = image.references.iter().filter(|name| !names.contains(name));
            !names.contains(digest) && !names_left.clone().any(|name| name.is_same_repository(digest))
        });
        let digests: Vec<_> = digests.cloned().collect();
        let names = names.into_iter().chain(digests).map(Removed::Untagged);
        Ok(names.chain(shown.into_iter().map(Removed::Deleted)).collect())
    }

    /// An entry for an image that has no name.
    fn nameless(&self, image: &Image) -> Result<Entry, StoreError> {
        let path = self.layout.blob(&image.manifest);
        let size = fs::metadata(&path).map_err(StoreError::io(&path))?.len();
        let origin = Origin { manifest: image.original_for(None), digest: None };
        Ok(Entry { manifest: image.manifest, size, reference: None, origin })
    }

    /// Drops the name of an image that cannot be read any more.
    fn remove_damaged(
        &self,
        mut entries: Vec<Entry>,
        name: &str,
    ) -> Option<Result<Vec<Removed>, StoreError>> {
        let at = entries.iter().position(|entry| named_entry(std::slice::from_ref(entry), name).is_some())?;
        let reference = entries.remove(at).reference?;
        Some(self.apply(&entries).map(|_| vec![Removed::Untagged(reference)]))
    }

    /// Writes `index.json` and removes what nothing in it leads to. The caller holds the lock.
    fn apply(&self, entries: &[Entry]) -> Result<Vec<Digest>, StoreError> {
        self.layout.write_index(entries)?;
        self.collect_garbage(entries)
    }

    /// Removes the blobs and indexes that nothing in `entries` leads to, and says which blobs. The caller holds the lock.
    pub(super) fn collect_garbage(&self, entries: &[Entry]) -> Result<Vec<Digest>, StoreError> {
        let images = self.images(entries);
        if entries.iter().any(|entry| images.iter().all(|image| image.manifest != entry.manifest)) {
            // Nobody can say what a damaged image leads to.
            tracing::warn!("no blobs are removed while an image of the store is damaged");
            return Ok(Vec::new());
        }
        let mut kept: HashSet<Digest> = HashSet::new();
        for image in &images {
            match self.blobs_of(image) {
                Ok(blobs) => kept.extend(blobs),
                Err(e) => {
                    tracing::warn!(image = %image.id, "no blobs are removed while an image is damaged: {e}");
                    return Ok(Vec::new());
                }
            }
        }
        let deleted = self.layout.retain_blobs(|digest| kept.contains(digest))?;
        self.retain_indexes(&images)?;
        Ok(deleted)
    }

    /// Removes the indexes that are not of these images. The caller holds the lock.
    pub(super) fn retain_indexes(&self, images: &[Image]) -> Result<(), StoreError> {
        let keys = images.iter().map(|image| index_key(image.layers.iter().map(|layer| layer.diff_id)));
        let kept: HashSet<_> = keys.map(|key| self.index_path(&key)).collect();
        let directory = self.root.indexes();
        for entry in fs::read_dir(&directory).map_err(StoreError::io(&directory))? {
            let path = entry.map_err(StoreError::io(&directory))?.path();
            if !kept.contains(&path) {
                fs::remove_file(&path).map_err(StoreError::io(&path))?;
            }
        }
        Ok(())
    }
}

/// The names that go with this one: with the last tag in a repository, also the names by digest there.
fn names_with(image: &Image, reference: &Reference) -> Vec<Reference> {
    let others =
        || image.references.iter().filter(|name| *name != reference && name.is_same_repository(reference));
    let last_tag = reference.digest().is_none() && others().all(|name| name.digest().is_some());
    std::iter::once(reference).chain(others().filter(|_| last_tag)).cloned().collect()
}

/// Docker's reasons not to remove an image, in Docker's words.
fn refuse(
    image: &Image,
    reference: Option<&Reference>,
    force: bool,
    users: &[ImageUser],
) -> Result<(), StoreError> {
    let conflict = |forcible, reason| StoreError::Conflict { image: image.id.short(), forcible, reason };
    let user = users.iter().find(|user| user.running).or(users.first());
    match (reference, user) {
        (Some(reference), Some(user)) if !force => Err(StoreError::ReferenceInUse {
            reference: reference.familiar(),
            container: user.container.clone(),
            image: image.id.short(),
        }),
        (None, Some(user)) => {
            let state = if user.running { "running" } else { "stopped" };
            // Force can take the names of an image that a stopped container uses; without names, it can do nothing.
            let forcible = !user.running && !image.references.is_empty();
            if force && forcible {
                return Ok(());
            }
            Err(conflict(forcible, format!("image is being used by {state} container {}", user.container)))
        }
        (None, None) if !force => {
            let repositories: HashSet<_> = image.references.iter().map(Reference::familiar_name).collect();
            if repositories.len() > 1 {
                return Err(conflict(true, "image is referenced in multiple repositories".to_owned()));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
