//! An image's disk: an index of the layers' tree, and the layers themselves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ImageStore;
use super::digest::{Digest, Hasher, ImageId};
use super::error::StoreError;
use super::image::Image;
use super::staging;

/// What a VM needs to serve an image as a read-only disk: these files one behind the other, each padded with zeros to
/// whole sectors.
#[derive(Debug)]
pub struct ImageDisk {
    /// The index, then the layers. None is empty.
    pub segments: Vec<Segment>,
}

/// One file of a disk.
#[derive(Debug)]
pub struct Segment {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: u64,
}

/// What the name of an index is made of: the layers, and how the index is written.
pub(super) fn index_key(layers: impl IntoIterator<Item = Digest>) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(format!("{}\n", moat_rootfs::WRITER_VERSION).as_bytes());
    for layer in layers {
        hasher.update(format!("{layer}\n").as_bytes());
    }
    hasher.finish()
}

impl ImageStore {
    /// The files of an image's disk. The index was made when the image was loaded; one that is gone or that another version
    /// of Moat wrote is made again.
    ///
    /// # Errors
    /// When a file of the image is missing or has changed its size, or when the index cannot be made.
    pub fn disk(&self, image: &Image) -> Result<ImageDisk, StoreError> {
        let path = self.index_path(&index_key(image.layers.iter().map(|layer| layer.diff_id)));
        if !path.exists() {
            self.put_index(&path, &self.build_index(image)?)?;
        }
        let length = fs::metadata(&path).map_err(StoreError::io(&path))?.len();
        let mut segments = vec![Segment { path, length }];
        for layer in &image.layers {
            let path = self.layout.find_blob(&layer.diff_id, layer.size)?;
            // A layer of no bytes at all has no entries, and no place on a disk.
            if layer.size > 0 {
                segments.push(Segment { path, length: layer.size });
            }
        }
        Ok(ImageDisk { segments })
    }

    pub(super) fn index_path(&self, key: &Digest) -> PathBuf {
        self.root.indexes().join(format!("{}.erofs", key.hex()))
    }

    /// Puts an index in its place, or in the place of another one.
    pub(super) fn put_index(&self, path: &Path, index: &moat_rootfs::Index) -> Result<(), StoreError> {
        let mut staging = self.stage()?;
        let staged = staging.file_with(index.bytes())?;
        staging::sync(&staged)?;
        fs::rename(&staged, path).map_err(StoreError::io(path))
    }

    /// Makes the index of an image that is in the store.
    pub(super) fn build_index(&self, image: &Image) -> Result<moat_rootfs::Index, StoreError> {
        let layers = image.layers.iter().map(|layer| self.layout.open_blob(&layer.diff_id, layer.size));
        index_of(layers, image.id)
    }
}

/// Makes the index of these layers, the lowest first.
pub(super) fn index_of(
    layers: impl Iterator<Item = Result<File, StoreError>>,
    image: ImageId,
) -> Result<moat_rootfs::Index, StoreError> {
    let mut files = layers.collect::<Result<Vec<_>, _>>()?;
    moat_rootfs::build_index(&mut files).map_err(|cause| StoreError::Index { image: image.short(), cause })
}
