//! Which image needs which file: `uses/FILE/IMAGE`, empty, for every layer and every index.
//!
//! Several images may need the same layer. With these an image that goes takes along what no other image needs, and not
//! one other image has to be read for that. A config and a manifest are one image's alone: what they contain says whose.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;

use super::ImageStore;
use super::digest::{Digest, ImageId};
use super::disk::index_key;
use super::error::StoreError;
use super::image::manifest_of;
use super::layout::{Layout, names_in, remove_file, remove_if_empty};
use super::record::ImageRecord;
use super::staging;

/// What an image needs of the store's files.
#[derive(Debug, Default, Clone)]
pub(super) struct Needs {
    /// Its config and its manifests.
    pub documents: BTreeSet<Digest>,
    /// Its layers, as tars and as registries have them.
    pub layers: BTreeSet<Digest>,
    /// The key of its index, which is none for an image that is not there.
    pub index: Option<Digest>,
}

impl Needs {
    /// All blobs.
    pub(super) fn blobs(&self) -> impl Iterator<Item = Digest> {
        self.documents.union(&self.layers).copied()
    }

    /// What other images may need too.
    pub(super) fn shared(&self) -> BTreeSet<Digest> {
        self.layers.iter().copied().chain(self.index).collect()
    }
}

impl ImageStore {
    /// What the image `id` needs, going by its record.
    ///
    /// # Errors
    /// When one of its manifests cannot be read.
    pub(super) fn needs(&self, id: &ImageId, record: &ImageRecord) -> Result<Needs, StoreError> {
        let (_, layers) = manifest_of(&self.layout, &record.manifest)?;
        let diff_ids = layers.iter().map(|layer| layer.diff_id);
        let mut needs = Needs {
            documents: BTreeSet::from([id.0, record.manifest]),
            layers: diff_ids.clone().collect(),
            index: Some(index_key(diff_ids)),
        };
        for (_, original) in record.originals() {
            if needs.documents.insert(original) {
                needs.layers.extend(self.original(&original)?.layers.iter().map(|layer| layer.digest));
            }
        }
        Ok(needs)
    }
}

impl Layout {
    /// Notes that `image` needs these files, and makes that last. The caller holds the store's lock.
    pub(super) fn add_uses(
        &self,
        image: &ImageId,
        files: impl IntoIterator<Item = Digest>,
    ) -> Result<(), StoreError> {
        let mut is_new = false;
        for file in files {
            let directory = self.uses().join(file.hex());
            match fs::DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => is_new = true,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(StoreError::io(&directory)(e)),
            }
            let path = directory.join(image.0.hex());
            File::create(&path).map_err(StoreError::io(&path))?;
            staging::sync(&directory)?;
            super::step();
        }
        if is_new { staging::sync(&self.uses()) } else { Ok(()) }
    }

    /// Notes that `image` does not need `file` any more, and says whether no other image needs it either. The caller holds
    /// the store's lock.
    pub(super) fn drop_use(&self, image: &ImageId, file: &Digest) -> Result<bool, StoreError> {
        let directory = self.uses().join(file.hex());
        remove_file(&directory.join(image.0.hex()))?;
        super::step();
        remove_if_empty(&directory)?;
        Ok(!directory.exists())
    }

    /// The images that need `file`.
    pub(super) fn users(&self, file: &Digest) -> Result<Vec<ImageId>, StoreError> {
        let names = names_in(&self.uses().join(file.hex()))?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok()).map(ImageId).collect())
    }

    /// Every file that some image needs.
    pub(super) fn used(&self) -> Result<Vec<Digest>, StoreError> {
        let names = names_in(&self.uses())?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok()).collect())
    }
}
