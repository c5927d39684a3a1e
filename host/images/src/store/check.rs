//! `system check`: reads every byte of the store and says what is not as it should be.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;

use moat_rootfs::IndexReader;

use super::ImageStore;
use super::digest::{Digest, Hasher};
use super::disk::index_key;
use super::error::StoreError;
use super::image::Image;
use super::load::stream::CHUNK;
use super::record::Stored;

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many images were looked at.
    pub images: usize,
    /// How many blobs were read.
    pub blobs: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// What is wrong, one message each.
    pub faults: Vec<String>,
}

impl ImageStore {
    /// Verifies every blob against its digest, every image against its blobs, and every index against its layers and in
    /// itself. An index that is not that of its layers is a fault and is made again; indexes that another version of Moat
    /// wrote are removed.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub fn check(&self) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        for (digest, _) in self.layout.all_blobs()? {
            match self.digest_of_blob(&digest) {
                Ok((found, size)) => {
                    checked.blobs += 1;
                    checked.bytes += size;
                    if found != digest {
                        let path = self.layout.blob(&digest);
                        checked.faults.push(format!("{}: its digest is {found}", path.display()));
                    }
                }
                // Removed while we looked.
                Err(StoreError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => checked.faults.push(e.to_string()),
            }
        }
        let mut names = HashSet::new();
        for id in self.ids()? {
            let image = self.stored(&id);
            // One that is on its way in or out has nothing to be checked.
            checked.images += usize::from(!matches!(image, Ok(None)));
            let checks = image.and_then(|stored| {
                let Some(stored) = stored else { return Ok(None) };
                names.extend(stored.record.names.iter().map(|named| named.name.clone()));
                self.check_stored(&stored)
            });
            let fault = checks.unwrap_or_else(|e| Some(e.to_string()));
            checked.faults.extend(fault.map(|fault| format!("image {}: {fault}", id.short())));
        }
        for name in self.layout.links()?.into_iter().filter(|name| !names.contains(name)) {
            match self.named(&name) {
                Ok(Some(_)) => {}
                Ok(None) => checked.faults.push(format!("{}: it leads to no image", name.familiar())),
                Err(e) => checked.faults.push(format!("{}: {e}", name.familiar())),
            }
        }
        Ok(checked)
    }

    fn digest_of_blob(&self, digest: &Digest) -> Result<(Digest, u64), StoreError> {
        let path = self.layout.blob(digest);
        let mut file = File::open(&path).map_err(StoreError::io(&path))?;
        let (mut hasher, mut buffer, mut size) = (Hasher::default(), vec![0; CHUNK], 0);
        loop {
            match file.read(&mut buffer).map_err(StoreError::io(&path))? {
                0 => return Ok((hasher.finish(), size)),
                n => {
                    hasher.update(&buffer[..n]);
                    size += n as u64;
                }
            }
        }
    }

    /// Whether an image is whole, and its layers are noted as needed. Says what is wrong with its index.
    fn check_stored(&self, stored: &Stored) -> Result<Option<String>, StoreError> {
        let flaw = self.check_image(&Image::read(&self.layout, stored)?)?;
        for file in self.needs(&stored.id, &stored.record)?.shared() {
            let users = self.layout.users(&file)?;
            if !users.contains(&stored.id) {
                let reason = "it is not noted that the image needs this".to_owned();
                return Err(StoreError::Damaged { path: self.layout.uses().join(file.hex()), reason });
            }
        }
        Ok(flaw)
    }

    /// Whether the image has all that it needs, and its index is sound and that of its layers. Says what is wrong with
    /// the index, which is then made again.
    fn check_image(&self, image: &Image) -> Result<Option<String>, StoreError> {
        for (_, original) in &image.originals {
            for layer in self.original(original)?.layers {
                self.layout.find_blob(&layer.digest, layer.size)?;
            }
        }
        let path = self.index_path(&index_key(image.layers.iter().map(|layer| layer.diff_id)));
        let Ok(found) = fs::read(&path) else {
            // `disk` makes it again when a container needs it.
            for layer in &image.layers {
                self.layout.find_blob(&layer.diff_id, layer.size)?;
            }
            return Ok(None);
        };
        let flaw = IndexReader::open(&found).and_then(|index| index.verify()).err();
        let index = self.build_index(image)?;
        if index.bytes() == found {
            // The same bytes would be made again.
            return Ok(flaw.map(|flaw| format!("the index {}: {flaw}", path.display())));
        }
        self.put_index(&path, &index)?;
        let reason = flaw
            .map_or_else(|| "it is not the index of the image's layers".to_owned(), |flaw| flaw.to_string());
        Ok(Some(format!("the index {} was damaged and has been made again: {reason}", path.display())))
    }
}
