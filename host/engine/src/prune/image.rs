//! `image prune`.

use moat_images::store::{Image, ImageId, ImageUser, StoreError};

use super::{Pruned, Selection, UnusedImages};
use crate::{Engine, EngineError};

impl Engine {
    /// Removes images that no container was made from, and what interrupted pulls left.
    pub(super) fn prune_images(
        &self,
        which: UnusedImages,
        selection: &Selection,
        pruned: &mut Pruned,
    ) -> Result<(), EngineError> {
        let store = self.store();
        let before = store.usage()?.total;
        // No container is made of an image meanwhile.
        let _containers = self.containers().lock_all()?;
        for image in store.list()? {
            let spared = which == UnusedImages::Dangling && !image.references.is_empty();
            if spared || !takes(selection, &image) {
                continue;
            }
            match store.remove(&image.id.to_string(), true, |id| self.refuse_used(id)) {
                Ok(removed) => {
                    self.emit_removed(&image.id.to_string(), &removed);
                    pruned.images.extend(removed);
                }
                // A container uses it, or another command has removed it.
                Err(EngineError::Store(StoreError::Conflict { .. } | StoreError::NoSuchImage(_))) => {}
                Err(e) => pruned.faults.push(e),
            }
        }
        let abandoned = store.remove_abandoned()?;
        let freed = before.saturating_sub(store.usage()?.total).saturating_add(abandoned);
        pruned.reclaimed = pruned.reclaimed.saturating_add(freed);
        Ok(())
    }

    /// Refuses an image that a container was made from. The store is forced to remove it, and would take its names.
    fn refuse_used(&self, image: &ImageId) -> Result<Vec<ImageUser>, EngineError> {
        if !self.containers().has_users(&image.to_string())? {
            return Ok(Vec::new());
        }
        let reason = "it is used by a container".to_owned();
        Err(StoreError::Conflict { image: image.short(), forcible: false, reason }.into())
    }
}

fn takes(selection: &Selection, image: &Image) -> bool {
    let labels = image.config.labels_of_config().cloned().unwrap_or_default();
    selection.takes(image.created(), &labels.into_iter().collect())
}
