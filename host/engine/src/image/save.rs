//! `save`: images of the store into an archive.

use std::io::Write;

use moat_images::events;

use crate::{Engine, EngineError};

impl Engine {
    /// Writes images to an archive that [`Engine::load`] and Docker read. `wanted` are names, ids, or repositories whose
    /// tags all are wanted.
    ///
    /// # Errors
    /// When there is no such image, the store cannot be read, or `sink` does not take the archive.
    pub fn save(&self, wanted: &[String], sink: &mut dyn Write) -> Result<(), EngineError> {
        self.store().save(wanted, sink)?;
        for image in wanted.iter().flat_map(|name| self.store().resolve(name)) {
            let id = image.id.to_string();
            events::emit(self.root(), "save", &id, &id);
        }
        Ok(())
    }
}
