//! `tag`: one more name for an image.

use std::fs;

use super::error::StoreError;
use super::layout::{Entry, Origin};
use super::load::Replaced;
use super::reference::Reference;
use super::{Found, ImageStore, find};

impl ImageStore {
    /// Gives the image that `source` names or identifies the name `target`. What had that name before is told.
    ///
    /// # Errors
    /// When there is no such image, or the store cannot be changed.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Vec<Replaced>, StoreError> {
        let _lock = self.lock()?;
        let mut entries = self.layout.read_index()?;
        let images = self.images(&entries);
        let Found { image, reference } = find(&images, source)?;
        let image = &images[image];
        let path = self.layout.blob(&image.manifest);
        let size = fs::metadata(&path).map_err(StoreError::io(&path))?.len();
        // The new name is of no registry yet, but what goes there is what came.
        let origin = Origin { manifest: image.original_for(reference.as_ref()), digest: None };
        let new = Entry { manifest: image.manifest, size, reference: None, origin };
        let replaced = self.give_names(&mut entries, &new, std::slice::from_ref(target));
        self.layout.write_index(&entries)?;
        Ok(replaced)
    }
}
