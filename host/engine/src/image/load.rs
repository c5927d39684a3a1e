//! `load`: the images of an archive into the store.

use std::io::Read;

use moat_images::events;
use moat_images::store::{LoadEvent, Loaded};

use crate::{Engine, EngineError};

impl Engine {
    /// Loads the images of an archive: all of them, or none. `seen` hears what the load is doing.
    ///
    /// # Errors
    /// When something is wrong with the archive, or the store cannot take it.
    pub fn load(
        &self,
        archive: impl Read,
        seen: impl FnMut(LoadEvent<'_>),
    ) -> Result<Vec<Loaded>, EngineError> {
        let loaded = self.store().load(archive, seen)?;
        for image in &loaded {
            let id = image.id.to_string();
            // As with Docker, the name of an image without one is its id.
            let name = image.references.first().map_or_else(|| id.clone(), |name| name.familiar());
            events::emit(self.root(), "load", &id, &name);
        }
        Ok(loaded)
    }
}
