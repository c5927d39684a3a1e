//! `import`: an image from a tar of a file system.

use std::io::Read;

use jiff::Timestamp;
use moat_images::config::{self, Change, Step};
use moat_images::events;
use moat_images::store::{ImageId, Reference, StoreError};
use serde_json::Map;

use super::refuse_digest;
use crate::{Engine, EngineError};

/// What is said about the new image.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// Where the archive comes from, for the history and for messages.
    pub source: String,
    /// The image's name.
    pub name: Option<Reference>,
    /// A remark for the history; it tells the source when absent.
    pub message: Option<String>,
    /// What to set in the image's config.
    pub changes: Vec<Change>,
}

impl Engine {
    /// Makes an image whose one layer is `archive`, a tar that may be compressed.
    ///
    /// # Errors
    /// When the archive is no layer that an image could have, or the store cannot take it; the store is then as it was.
    pub fn import(&self, archive: impl Read, request: ImportRequest) -> Result<ImageId, EngineError> {
        let ImportRequest { source, name, message, changes } = request;
        refuse_digest(name.as_ref())?;
        let config = config::changed(Map::new(), &changes)?;
        let failed = |cause: StoreError| EngineError::Import { archive: source.clone(), cause };
        let layer = self.store().stage_archive(archive).map_err(failed)?;
        let step = Step {
            created: Timestamp::now(),
            created_by: String::new(),
            author: String::new(),
            comment: message.unwrap_or_else(|| format!("Imported from {source}")),
        };
        let document = config::with_layer(config::empty(), config, &layer.digest(), &step);
        let id = self.store().add_image(None, layer, &document, name.as_slice()).map_err(failed)?.id;
        let text = id.to_string();
        events::emit(
            self.root(),
            "import",
            &text,
            &name.map_or_else(|| text.clone(), |name| name.familiar()),
        );
        Ok(id)
    }
}
