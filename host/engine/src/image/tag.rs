//! `tag`: one more name for an image.

use moat_images::events;
use moat_images::store::Reference;

use super::refuse_digest;
use crate::{Engine, EngineError};

impl Engine {
    /// Gives the image that `source` names or identifies the name `target`, which another image may lose by that.
    ///
    /// # Errors
    /// When there is no such image, the name is one by digest, or the store cannot be changed.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), EngineError> {
        refuse_digest(Some(target))?;
        self.store().tag(source, target)?;
        let name = target.familiar();
        let id = self.store().resolve(&name).map_or_else(|_| name.clone(), |image| image.id.to_string());
        events::emit(self.root(), "tag", &id, &name);
        Ok(())
    }
}
