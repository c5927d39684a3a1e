//! `load`: images from an archive into the store.
//!
//! One pass over the bytes ([`collect`]) stages every file with compression taken off and digests computed; then the
//! documents ([`docker`], [`oci`]) say which files make up images, and every promise they make is checked ([`plan`]);
//! then disks are indexed and everything moves into the store at once. What fails before that leaves nothing.

mod collect;
pub(super) mod content;
mod docker;
mod layer;
mod oci;
pub(super) mod plan;
pub(super) mod stream;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use oci_spec::image::{ImageManifestBuilder, MediaType, SCHEMA_VERSION};

use self::collect::Members;
use self::content::StagedBlob;
pub use self::layer::StagedLayer;
use self::plan::Plan;
use self::stream::Source;
use super::ImageStore;
use super::digest::{Digest, ImageId};
use super::disk::{index_key, index_of};
use super::error::{LoadError, StoreError};
use super::layout::descriptor;
use super::record::Origin;
use super::reference::Reference;
use super::staging::{self, Staging};
use moat_records::failpoint;

/// What a load is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadEvent<'a> {
    /// It reads a file of the archive.
    Reading {
        /// Its name.
        member: &'a str,
        /// Its size in the archive, in bytes.
        size: u64,
    },
    /// It makes an image's layers into a disk.
    Indexing(ImageId),
    /// It makes the images last.
    Saving,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// The names that the archive gave it.
    pub references: Vec<Reference>,
    /// What had some of these names before.
    pub replaced: Vec<Replaced>,
}

/// An image that lost a name to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The name.
    pub reference: Reference,
    /// The image that had it. It stays in the store.
    pub id: ImageId,
}

/// What an image adds to the store.
pub(super) struct Addition {
    pub plan: Plan,
    pub manifest: StagedBlob,
    /// The staged index of its layers and where that goes, unless it is there.
    pub index: Option<(PathBuf, PathBuf)>,
    /// What a registry has of it: its manifest and its layers as they are there.
    pub original: Vec<StagedBlob>,
    /// Where it comes from.
    pub origin: Origin,
}

impl ImageStore {
    /// Loads the images of an archive: one that `docker save` wrote, or a tar of an OCI image layout, compressed or not.
    /// The reader is read once, from front to back. Either all of its images are loaded or none.
    ///
    /// # Errors
    /// [`StoreError::Load`] when something is wrong with the archive, others when the store cannot take it.
    pub fn load(
        &self,
        archive: impl Read,
        mut progress: impl FnMut(LoadEvent<'_>),
    ) -> Result<Vec<Loaded>, StoreError> {
        let mut staging = self.stage()?;
        let members = Members::collect(Source::open(archive)?, &mut staging, |member, size| {
            progress(LoadEvent::Reading { member, size });
        })?;
        let plans = if members.has(docker::MANIFEST) {
            docker::images(&members)?
        } else if members.has(oci::INDEX) {
            oci::images(&members)?
        } else {
            return Err(LoadError::NotAnImage.into());
        };
        let mut indexed = HashSet::new();
        let mut additions = Vec::new();
        for plan in plans {
            let manifest = stage_manifest(&mut staging, &plan)?;
            let index = self.stage_index(&mut staging, &plan, &mut indexed, &mut progress)?;
            additions.push(Addition {
                plan,
                manifest,
                index,
                original: Vec::new(),
                origin: Origin::default(),
            });
        }
        progress(LoadEvent::Saving);
        for addition in &additions {
            addition.sync(self)?;
        }
        self.commit(&additions)
    }

    /// Writes the index of an image's layers, unless the store has it or another image of the archive brings it.
    pub(super) fn stage_index(
        &self,
        staging: &mut Staging,
        plan: &Plan,
        indexed: &mut HashSet<PathBuf>,
        progress: &mut impl FnMut(LoadEvent<'_>),
    ) -> Result<Option<(PathBuf, PathBuf)>, StoreError> {
        let target = self.index_path(&index_key(plan.layers.iter().map(|layer| layer.digest)));
        if target.exists() || !indexed.insert(target.clone()) {
            return Ok(None);
        }
        progress(LoadEvent::Indexing(plan.id));
        let open = |layer: &StagedBlob| fs::File::open(&layer.path).map_err(StoreError::io(&layer.path));
        let staged = staging.file_with(index_of(plan.layers.iter().map(open), plan.id)?.bytes())?;
        Ok(Some((staged, target)))
    }

    /// Moves everything into the store.
    pub(super) fn commit(&self, additions: &[Addition]) -> Result<Vec<Loaded>, StoreError> {
        let mut change = self.change()?;
        let mut loaded = Vec::new();
        for Addition { plan, manifest, origin, .. } in additions {
            let replaced = change.give(plan.id, manifest.digest, *origin, &plan.references)?;
            loaded.push(Loaded { id: plan.id, references: plan.references.clone(), replaced });
        }
        change.commit(|| {
            for addition in additions {
                for blob in addition.blobs() {
                    self.layout.adopt(&blob.path, &blob.digest, blob.size)?;
                    super::step();
                }
                if let Some((staged, target)) = &addition.index {
                    fs::rename(staged, target).map_err(StoreError::io(target))?;
                }
            }
            self.layout.sync_blobs()?;
            failpoint::hit("store.adopted");
            Ok(())
        })?;
        Ok(loaded)
    }
}

impl Addition {
    /// All that it adds.
    fn blobs(&self) -> impl Iterator<Item = &StagedBlob> {
        self.plan.layers.iter().chain([&self.plan.config, &self.manifest]).chain(&self.original)
    }

    /// Makes what is staged last beyond a power cut, before anything leads to it.
    pub(super) fn sync(&self, store: &ImageStore) -> Result<(), StoreError> {
        for blob in self.blobs() {
            if !store.layout.blob(&blob.digest).exists() {
                staging::sync(&blob.path)?;
            }
        }
        self.index.iter().try_for_each(|(staged, _)| staging::sync(staged))
    }
}

/// Writes the manifest that the store keeps: the same config, the layers without compression.
pub(super) fn stage_manifest(staging: &mut Staging, plan: &Plan) -> Result<StagedBlob, StoreError> {
    let layers = plan.layers.iter();
    let layers: Vec<_> =
        layers.map(|layer| descriptor(MediaType::ImageLayer, &layer.digest, layer.size)).collect();
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &plan.config.digest, plan.config.size))
        .layers(layers)
        .build()
        .expect("every field that a manifest must have is set");
    let text = serde_json::to_vec(&manifest).expect("a manifest is strings and numbers");
    let path = staging.file_with(&text)?;
    Ok(StagedBlob { path, digest: Digest::of(&text), size: text.len() as u64 })
}
