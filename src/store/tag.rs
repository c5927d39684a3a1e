//! `tag`: one more name for an image.

use std::fs;

use super::ImageStore;
use super::error::StoreError;
use super::find;
use super::load::Replaced;
use super::reference::Reference;

impl ImageStore {
    /// Gives the image that `source` names or identifies the name `target`. What had that name before is told.
    ///
    /// # Errors
    /// When there is no such image, or the store cannot be changed.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<Vec<Replaced>, StoreError> {
        let _lock = self.lock()?;
        let mut entries = self.layout.read_index()?;
        let images = self.images(&entries);
        let image = &images[find(&images, source)?.image];
        let path = self.layout.blob(&image.manifest);
        let size = fs::metadata(&path).map_err(StoreError::io(&path))?.len();
        let replaced = self.give_names(&mut entries, image.manifest, size, std::slice::from_ref(target));
        self.layout.write_index(&entries)?;
        Ok(replaced)
    }
}
