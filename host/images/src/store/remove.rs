//! `rmi`: names and images out of the store.

use std::collections::HashSet;

use moat_records::record::RecordError;

use super::ImageStore;
use super::change::Change;
use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::find::Found;
use super::image::Image;
use super::layout::remove_file;
use super::record::Stored;
use super::reference::Reference;

/// A container that was made from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The container's id, as it is shown.
    pub container: String,
    /// Whether it runs, is paused or restarts, or is being made.
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
    /// when containers use it, but what they need stays, without a name. `users` says which do; the caller
    /// keeps new containers from being made meanwhile.
    ///
    /// # Errors
    /// When there is no such image, when it is in use, or when the store cannot be changed.
    pub fn remove<E: From<StoreError>>(
        &self,
        name: &str,
        force: bool,
        users: impl FnOnce(&ImageId) -> Result<Vec<ImageUser>, E>,
    ) -> Result<Vec<Removed>, E> {
        let mut change = self.change()?;
        let Found { stored, reference } = match self.find(name) {
            Err(e @ (StoreError::Damaged { .. } | StoreError::Record(RecordError::Damaged { .. }))) => {
                return Ok(self.remove_unreadable(name, e)?);
            }
            found => found?,
        };
        let image = match Image::read(&self.layout, &stored) {
            Ok(image) => image,
            // It can be removed nevertheless.
            Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => {
                return Ok(remove_damaged(change, &stored, reference)?);
            }
            Err(e) => return Err(e.into()),
        };
        let users = users(&image.id)?;
        let names = names_meant(&image, reference.as_ref());
        let last = names.len() == image.references.len();
        if last || reference.is_none() {
            refuse(&image, reference.as_ref(), force, &users)?;
        }
        // Containers need it to start again. Only by force does it get here.
        change.take(&stored, &names, !users.is_empty())?;
        let deleted = change.commit(|| Ok(()))?;
        Ok(told(&image, names, &deleted))
    }

    /// Removes an image whose record cannot be read, by a name that leads to it. The caller holds the lock.
    fn remove_unreadable(&self, name: &str, error: StoreError) -> Result<Vec<Removed>, StoreError> {
        let Ok(reference) = name.parse::<Reference>() else { return Err(error) };
        let Some(id) = self.layout.link(&reference)? else { return Err(error) };
        remove_file(&self.layout.record(&id))?;
        self.repair()?;
        Ok(vec![Removed::Untagged(reference)])
    }
}

/// Removes an image that cannot be read any more: by its name that name, by its id all of it.
fn remove_damaged(
    mut change: Change<'_>,
    stored: &Stored,
    reference: Option<Reference>,
) -> Result<Vec<Removed>, StoreError> {
    let all = || stored.record.names.iter().map(|named| named.name.clone()).collect();
    let names: Vec<Reference> = reference.map_or_else(all, |name| vec![name]);
    change.take(stored, &names, false)?;
    change.commit(|| Ok(()))?;
    Ok(names.into_iter().map(Removed::Untagged).collect())
}

/// What goes when an image is removed by `reference`, or by its id.
fn names_meant(image: &Image, reference: Option<&Reference>) -> Vec<Reference> {
    match reference {
        Some(reference) if image.references.contains(reference) => names_with(image, reference),
        // By its digest, an image goes with all the names that its repository gave it.
        Some(reference) => {
            image.references.iter().filter(|name| name.is_same_repository(reference)).cloned().collect()
        }
        None => image.references.clone(),
    }
}

/// What went, in Docker's order: names, the image, its layers from the top. The manifest is the store's own affair.
fn told(image: &Image, names: Vec<Reference>, deleted: &[Digest]) -> Vec<Removed> {
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
    names.chain(shown.into_iter().map(Removed::Deleted)).collect()
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
