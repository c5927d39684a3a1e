//! What images take on the disk, and what of it interrupted pulls left.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::ImageStore;
use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::image::Image;
use super::partial;

/// The unit in which stat(2) counts what a file takes.
const BLOCK: u64 = 512;

/// What all images take on the disk.
#[derive(Debug, Default, Clone)]
pub struct Usage {
    /// The bytes of all images; what several share counts once.
    pub total: u64,
    /// What interrupted pulls left, which later pulls continue from, in bytes.
    pub abandoned: u64,
    /// What each image takes.
    pub images: HashMap<ImageId, ImageUsage>,
    /// The blobs that each image needs.
    blobs: HashMap<ImageId, Vec<Digest>>,
    /// What each blob takes.
    sizes: HashMap<Digest, u64>,
}

impl Usage {
    /// The bytes that these images take together; what several share counts once.
    pub fn together<'a>(&self, images: impl IntoIterator<Item = &'a ImageId>) -> u64 {
        let blobs = images.into_iter().filter_map(|id| self.blobs.get(id)).flatten();
        let blobs: HashSet<&Digest> = blobs.collect();
        blobs.into_iter().filter_map(|digest| self.sizes.get(digest)).sum()
    }
}

/// What one image takes on the disk, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ImageUsage {
    /// What other images need too.
    pub shared: u64,
    /// What goes away with it.
    pub unique: u64,
}

impl ImageStore {
    /// Counts what the images take.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let images = self.list()?;
        let blobs: Vec<Vec<Digest>> =
            images.iter().map(|image| self.blobs_of(image)).collect::<Result<_, _>>()?;
        let mut users: HashMap<Digest, usize> = HashMap::new();
        for digest in blobs.iter().flatten() {
            *users.entry(*digest).or_default() += 1;
        }
        let mut usage = Usage::default();
        for partial in partial::abandoned(&self.partial())? {
            usage.abandoned += partial?.state()?.0;
        }
        usage.sizes = users.keys().map(|digest| (*digest, taken(&self.layout.blob(digest)))).collect();
        usage.total = usage.sizes.values().sum();
        for (image, blobs) in images.iter().zip(blobs) {
            let one = usage.images.entry(image.id).or_default();
            for digest in &blobs {
                let bytes = usage.sizes[digest];
                *(if users[digest] > 1 { &mut one.shared } else { &mut one.unique }) += bytes;
            }
            usage.blobs.entry(image.id).or_default().extend(blobs);
        }
        Ok(usage)
    }

    /// Every blob that an image needs, each once.
    fn blobs_of(&self, image: &Image) -> Result<Vec<Digest>, StoreError> {
        let mut blobs = vec![image.id.0, image.manifest];
        blobs.extend(image.layers.iter().map(|layer| layer.diff_id));
        for (_, original) in &image.originals {
            blobs.push(*original);
            blobs.extend(self.original(original)?.layers.iter().map(|layer| layer.digest));
        }
        blobs.sort();
        blobs.dedup();
        Ok(blobs)
    }

    /// Removes what interrupted commands left, and says how many bytes of pulls that were.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_abandoned(&self) -> Result<u64, StoreError> {
        let _lock = self.lock()?;
        // A power cut may have left blobs of which nothing is known.
        self.repair()?;
        let mut bytes = 0;
        for partial in partial::abandoned(&self.partial())? {
            let partial = partial?;
            bytes += partial.state()?.0;
            partial.remove()?;
        }
        Ok(bytes)
    }
}

/// What a sparse file takes; nothing when there is none.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.blocks() * BLOCK)
}
