//! `tag`: one more name for an image.

use super::ImageStore;
use super::error::StoreError;
use super::load::Replaced;
use super::record::Origin;
use super::reference::Reference;

impl ImageStore {
    /// Gives the image that `source` names or identifies the name `target`. The answer is what had that name before.
    ///
    /// # Errors
    /// When there is no such image, or the store cannot be changed.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Vec<Replaced>, StoreError> {
        let mut change = self.change()?;
        let found = self.find(source)?;
        let image = super::Image::read(&self.layout, &found.stored)?;
        // The new name is of no registry yet, but what goes there is what came.
        let origin = Origin { manifest: image.original_for(found.reference.as_ref()), digest: None };
        let replaced = change.give(image.id, image.manifest, origin, std::slice::from_ref(target))?;
        change.commit(|| Ok(()))?;
        Ok(replaced)
    }
}
