//! What interrupted commands left, and how it is put in order. Only here are all images read, and only after a command
//! was killed or the way in which indexes are written has changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;

use super::ImageStore;
use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::layout::{names_in, remove_file, remove_if_empty};
use super::record::{self, CHANGE, ChangeRecord};
use super::staging::{self, Staging};
use super::uses::Needs;

impl ImageStore {
    /// Finishes or undoes what killed commands had begun. The caller holds the lock.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        // Should this be killed too, the next command does it.
        let _marker = Staging::create(&self.staging())?;
        self.layout.sweep()?;
        let path = self.layout.change();
        let mut interrupted = staging::sweep(&self.staging())?;
        if path.exists() {
            record::read::<ChangeRecord>(&path, CHANGE)?.finish(&self.layout)?;
            interrupted = true;
        }
        if interrupted {
            self.repair()?;
        }
        Ok(())
    }

    /// Removes every record, name and file that belongs to no image, and says which blobs these were. The caller holds the
    /// lock.
    pub(super) fn repair(&self) -> Result<Vec<Digest>, StoreError> {
        let images = self.remove_remnants()?;
        let is_damaged = images.values().any(Option::is_none);
        self.correct_uses(&images)?;
        if is_damaged {
            // What a damaged image needs is not known.
            tracing::warn!("no blobs are removed while an image of the store is damaged");
            return Ok(Vec::new());
        }
        let kept: BTreeSet<Digest> = images.values().flatten().flat_map(Needs::blobs).collect();
        let mut removed = Vec::new();
        for (blob, _) in self.layout.all_blobs()? {
            if !kept.contains(&blob) && self.layout.remove_blob(&blob)? {
                removed.push(blob);
            }
        }
        let indexes: BTreeSet<_> = images
            .values()
            .flatten()
            .filter_map(|needs| needs.index)
            .map(|key| self.index_path(&key))
            .collect();
        let directory = self.root.indexes();
        for entry in fs::read_dir(&directory).map_err(StoreError::io(&directory))? {
            let path = entry.map_err(StoreError::io(&directory))?.path();
            if !indexes.contains(&path) {
                remove_file(&path)?;
            }
        }
        Ok(removed)
    }

    /// Removes records that no name leads to and names that lead to no record. The answer is what each image needs, which
    /// is nothing for one that cannot be read.
    fn remove_remnants(&self) -> Result<BTreeMap<ImageId, Option<Needs>>, StoreError> {
        let (mut images, mut names) = (BTreeMap::new(), HashSet::new());
        for id in self.ids()? {
            match self.stored(&id) {
                Ok(Some(stored)) => {
                    images.insert(id, self.needs(&id, &stored.record).ok());
                    names.extend(stored.record.names.into_iter().map(|named| named.name));
                }
                Ok(None) => drop(remove_file(&self.layout.record(&id))?),
                Err(e @ StoreError::Newer { .. }) => return Err(e),
                Err(e) => {
                    tracing::warn!(image = %id, "an image is damaged: {e}");
                    images.insert(id, None);
                }
            }
        }
        let mut dangling = Vec::new();
        for name in self.layout.links()? {
            // The names of a damaged image stay, so that it can be removed by them.
            if !names.contains(&name) && matches!(self.named(&name), Ok(None)) {
                dangling.push((name, None));
            }
        }
        self.layout.set_links(&dangling)?;
        for directory in names_in(&self.layout.names())? {
            let directory = self.layout.names().join(directory);
            remove_file(&directory.join(super::names::NEXT))?;
            remove_if_empty(&directory)?;
        }
        for name in names_in(&self.layout.nameless())? {
            if Digest::from_hex(&name).is_ok_and(|digest| !images.contains_key(&ImageId(digest))) {
                remove_file(&self.layout.nameless().join(name))?;
            }
        }
        Ok(images)
    }

    /// Notes what is needed, and nothing else. What a damaged image needs stays noted.
    fn correct_uses(&self, images: &BTreeMap<ImageId, Option<Needs>>) -> Result<(), StoreError> {
        let mut missing: BTreeMap<ImageId, BTreeSet<Digest>> = BTreeMap::new();
        for (id, needs) in images {
            missing.insert(*id, needs.iter().flat_map(Needs::shared).collect());
        }
        for file in self.layout.used()? {
            let users = self.layout.users(&file)?;
            for user in users {
                let known = missing.get_mut(&user);
                let is_needed = known.is_some_and(|files| files.remove(&file));
                if !is_needed && !matches!(images.get(&user), Some(None)) {
                    self.layout.drop_use(&user, &file)?;
                }
            }
            remove_if_empty(&self.layout.uses().join(file.hex()))?;
        }
        missing.into_iter().try_for_each(|(id, files)| self.layout.add_uses(&id, files))
    }
}
