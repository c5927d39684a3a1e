//! What a registry has of an image: the manifest, byte for byte, and the layers that it names.

use std::fs;

use oci_spec::image::{ImageManifest, MediaType};

use super::ImageStore;
use super::digest::Digest;
use super::error::StoreError;

/// A manifest as a registry has it.
#[derive(Debug)]
pub(super) struct Original {
    /// Its bytes.
    pub text: Vec<u8>,
    /// What kind it says it is.
    pub media_type: String,
    /// The layers as they are there.
    pub layers: Vec<Blob>,
}

/// A blob, by the manifest that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl ImageStore {
    /// Reads a manifest that was pulled or pushed.
    pub(super) fn original(&self, digest: &Digest) -> Result<Original, StoreError> {
        let manifest: ImageManifest = self.layout.document(digest)?;
        let path = self.layout.blob(digest);
        let damaged = |e| StoreError::Damaged { path: path.clone(), reason: format!("{e}") };
        let layers = manifest.layers().iter().map(|layer| {
            let digest = layer.digest().as_ref().parse().map_err(damaged)?;
            Ok(Blob { digest, size: layer.size() })
        });
        let media_type = manifest.media_type().as_ref().unwrap_or(&MediaType::ImageManifest).to_string();
        Ok(Original {
            layers: layers.collect::<Result<_, StoreError>>()?,
            media_type,
            text: fs::read(&path).map_err(StoreError::io(&path))?,
        })
    }
}
