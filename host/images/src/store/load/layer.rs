//! Images that are made here: a layer that is streamed in, on top of an image or of nothing.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oci_spec::image::ImageConfiguration;
use serde_json::Value;

use super::super::ImageStore;
use super::super::budget::Budget;
use super::super::digest::{Digest, ImageId};
use super::super::error::{LoadError, StoreError};
use super::super::image::Image;
use super::super::limits::{MAX_DOCUMENT, MAX_LAYERS};
use super::super::record::Origin;
use super::super::reference::Reference;
use super::super::staging::Staging;
use super::content::StagedBlob;
use super::plan::Plan;
use super::stream::Source;
use super::{Addition, Loaded, stage_manifest};

/// A layer that is not part of an image yet. It goes away when it does not become one.
pub struct StagedLayer {
    staging: Staging,
    blob: StagedBlob,
}

impl StagedLayer {
    /// The digest of the tar, which is the layer's diff_id.
    pub fn digest(&self) -> Digest {
        self.blob.digest
    }

    /// The size of the tar in bytes.
    pub fn size(&self) -> u64 {
        self.blob.size
    }
}

impl ImageStore {
    /// Takes in a layer, an uncompressed tar. What is in it is looked at by [`ImageStore::add_image`].
    ///
    /// # Errors
    /// [`LoadError::Read`] when it cannot be read, others when it is too large or the store cannot take it.
    pub fn stage_layer(&self, tar: impl Read) -> Result<StagedLayer, StoreError> {
        let input = Arc::new(AtomicU64::new(0));
        let mut tar = Counted { reader: tar, input: Arc::clone(&input) };
        self.stage_bytes(&mut tar, input)
    }

    /// As [`ImageStore::stage_layer`], for a tar that may be compressed.
    ///
    /// # Errors
    /// As [`ImageStore::stage_layer`].
    pub fn stage_archive(&self, archive: impl Read) -> Result<StagedLayer, StoreError> {
        let mut source = Source::open(archive)?;
        let input = source.input();
        let mut failure = None;
        let mut reader = Expanded { source: &mut source, failure: &mut failure };
        match self.stage_bytes(&mut reader, input) {
            Err(StoreError::Load(LoadError::Read(e))) => {
                Err(failure.map_or(StoreError::Load(LoadError::Read(e)), StoreError::Load))
            }
            other => other,
        }
    }

    fn stage_bytes(&self, reader: &mut impl Read, input: Arc<AtomicU64>) -> Result<StagedLayer, StoreError> {
        let mut staging = self.stage()?;
        let blob = StagedBlob::stage(reader, &mut staging, &Budget::new(input), "the layer")?;
        Ok(StagedLayer { staging, blob: blob.map_err(LoadError::Read)? })
    }

    /// Makes an image of a layer, which comes on top of those of `base`. `document` is its config, with the layer's
    /// diff_id in it. The image is complete and can run, or there is none.
    ///
    /// # Errors
    /// When the layers cannot be made into a disk, or the store cannot take the image.
    pub fn add_image(
        &self,
        base: Option<&Image>,
        layer: StagedLayer,
        document: &Value,
        names: &[Reference],
    ) -> Result<Loaded, StoreError> {
        let StagedLayer { mut staging, blob } = layer;
        let what = || "the config of the new image".to_owned();
        let text = serde_json::to_vec(document).expect("a JSON value is written as JSON");
        if text.len() as u64 > MAX_DOCUMENT {
            return Err(LoadError::document_too_large(&what(), text.len() as u64).into());
        }
        let config: ImageConfiguration = serde_json::from_slice(&text)
            .map_err(|e| LoadError::Document { what: what(), reason: e.to_string() })?;
        let below = base.iter().flat_map(|image| &image.layers).map(|layer| StagedBlob {
            path: self.layout.blob(&layer.diff_id),
            digest: layer.diff_id,
            size: layer.size,
        });
        let layers: Vec<StagedBlob> = below.chain([blob]).collect();
        if layers.len() > MAX_LAYERS {
            return Err(LoadError::too_many("the layers of the new image", MAX_LAYERS).into());
        }
        let diff_ids = config.rootfs().diff_ids();
        if !diff_ids.iter().eq(layers.iter().map(|layer| layer.digest.to_string()).collect::<Vec<_>>().iter())
        {
            let counts = (layers.len(), diff_ids.len());
            return Err(LoadError::LayerCount { what: what(), layers: counts.0, diff_ids: counts.1 }.into());
        }
        let digest = Digest::of(&text);
        let config = StagedBlob { path: staging.file_with(&text)?, digest, size: text.len() as u64 };
        let plan = Plan { references: names.to_vec(), id: ImageId(digest), config, layers };
        let manifest = stage_manifest(&mut staging, &plan)?;
        let index = self.stage_index(&mut staging, &plan, &mut Default::default(), &mut |_| ())?;
        let addition = Addition { plan, manifest, index, original: Vec::new(), origin: Origin::default() };
        addition.sync(self)?;
        let mut loaded = self.commit(std::slice::from_ref(&addition))?;
        // One goes in, one comes out.
        Ok(loaded.remove(0))
    }
}

/// A reader that counts what it gives.
struct Counted<R> {
    reader: R,
    input: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.input.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// An archive without its compression; keeps the error that [`Read`] cannot tell.
struct Expanded<'a, 'b> {
    source: &'a mut Source<'b>,
    failure: &'a mut Option<LoadError>,
}

impl Read for Expanded<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer).map_err(|e| {
            *self.failure = Some(e);
            io::Error::other("the archive cannot be read")
        })
    }
}

#[cfg(test)]
mod tests;
