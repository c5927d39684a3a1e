//! Changes of the store: images that come and go, names that are given and taken away.
//!
//! The order of the steps makes a change happen at one moment, whenever the process is killed:
//!
//! 1. Blobs move in, and it is noted which image needs them.
//! 2. The records of images that get names are written. These names do not lead there yet, so nothing is seen of it.
//! 3. The change happens. An image goes with its record. A name is given or taken away with its link. Several names are
//!    written down in `change` first, and have changed as soon as that is there.
//! 4. What no image needs any more is removed.
//!
//! Each change has a staging directory from its beginning to its end. One that is left behind tells the next command that a
//! change was interrupted ([`super::repair`]).

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use moat_records::record::{self, Lock, RecordError};
use serde::Serialize;

use super::ImageStore;
use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::layout::{Layout, remove_file};
use super::load::Replaced;
use super::record::Stored;
use super::record::{CHANGE, ChangeRecord, ImageRecord, Named, Origin};
use super::reference::Reference;
use super::staging::{self, Staging};
use super::uses::Needs;

/// A change that is being put together. It holds the store's lock, so no other process changes the store meanwhile.
pub(super) struct Change<'a> {
    store: &'a ImageStore,
    images: BTreeMap<ImageId, Touched>,
    /// Where names lead from now on.
    names: BTreeMap<Reference, Option<ImageId>>,
    /// Tells the next command, should this one be killed.
    marker: Staging,
    _lock: Lock,
}

/// An image that changes.
#[derive(Default)]
struct Touched {
    before: Option<ImageRecord>,
    /// What it needed before; nothing when that cannot be read.
    needs: Option<Needs>,
    after: Option<ImageRecord>,
}

/// Records as they are to be on the disk.
type Encoded = Vec<(ImageId, Vec<u8>)>;

impl ImageStore {
    /// Begins a change.
    pub(super) fn change(&self) -> Result<Change<'_>, StoreError> {
        let lock = self.lock()?;
        let marker = Staging::create(&self.staging())?;
        Ok(Change { store: self, images: BTreeMap::new(), names: BTreeMap::new(), marker, _lock: lock })
    }
}

impl Change<'_> {
    /// Gives the image `id` these names, and tells which images lose one by that. An image that gets no name and has none
    /// is kept without. `origin` says where it comes from.
    pub(super) fn give(
        &mut self,
        id: ImageId,
        manifest: Digest,
        origin: Origin,
        names: &[Reference],
    ) -> Result<Vec<Replaced>, StoreError> {
        let (mut replaced, mut seen) = (Vec::new(), HashSet::new());
        for name in names.iter().filter(|name| seen.insert(*name)) {
            let holder = match self.names.get(name) {
                Some(holder) => *holder,
                None => self.holder(name)?,
            };
            if let Some(other) = holder.filter(|other| *other != id) {
                self.lose(other, name)?;
                replaced.push(Replaced { reference: name.clone(), id: other });
            }
        }
        let touched = self.touch(id)?;
        let new = || ImageRecord { original: origin.manifest, ..ImageRecord::new(manifest) };
        let record = touched.after.get_or_insert_with(new);
        record.manifest = manifest;
        let places = record.names.iter().enumerate().map(|(place, named)| (named.name.clone(), place));
        let mut places: HashMap<Reference, usize> = places.collect();
        let mut given = Vec::new();
        for name in names {
            match places.get(name) {
                Some(&place) if origin.digest.is_some() => record.names[place].origin = origin,
                Some(_) => {}
                None => {
                    places.insert(name.clone(), record.names.len());
                    record.names.push(Named { name: name.clone(), origin });
                    given.push(name.clone());
                }
            }
        }
        self.names.extend(given.into_iter().map(|name| (name, Some(id))));
        Ok(replaced)
    }

    /// Takes these names away from an image. With its last name the image goes, unless it is to be kept without one.
    pub(super) fn take(&mut self, image: &Stored, names: &[Reference], keep: bool) -> Result<(), StoreError> {
        for name in names {
            self.lose(image.id, name)?;
            self.names.insert(name.clone(), None);
        }
        let touched = self.touch(image.id)?;
        if !keep && touched.after.as_ref().is_some_and(|record| record.names.is_empty()) {
            touched.after = None;
        }
        Ok(())
    }

    /// Notes where the image `id` came from or went to under `name`, if it still has that name, and says whether it has.
    pub(super) fn set_origin(
        &mut self,
        id: ImageId,
        name: &Reference,
        origin: Origin,
    ) -> Result<bool, StoreError> {
        let record = self.touch(id)?.after.as_mut();
        let named = record.and_then(|record| record.names.iter_mut().find(|named| named.name == *name));
        Ok(named.map(|named| named.origin = origin).is_some())
    }

    /// The image that has this name before the change. Its record is read once, however many names it has.
    fn holder(&mut self, name: &Reference) -> Result<Option<ImageId>, StoreError> {
        let Some(id) = self.store.layout.link(name)? else { return Ok(None) };
        let before = self.touch(id)?.before.as_ref();
        Ok(before.is_some_and(|record| record.named(name).is_some()).then_some(id))
    }

    fn lose(&mut self, id: ImageId, name: &Reference) -> Result<(), StoreError> {
        let Some(record) = &mut self.touch(id)?.after else { return Ok(()) };
        let last = record.names.iter().rev().find_map(|named| named.origin.manifest);
        record.names.retain(|named| named.name != *name);
        if record.names.is_empty() {
            record.original = last;
        }
        Ok(())
    }

    fn touch(&mut self, id: ImageId) -> Result<&mut Touched, StoreError> {
        if let Entry::Vacant(place) = self.images.entry(id) {
            let before = match self.store.stored(&id) {
                // The image may be loaded again because its record is damaged.
                Err(e @ (StoreError::Damaged { .. } | StoreError::Record(_))) => {
                    tracing::warn!(image = %id, "the record of an image is written anew: {e}");
                    None
                }
                other => other?.map(|stored| stored.record),
            };
            let needs = before.as_ref().and_then(|record| self.store.needs(&id, record).ok());
            place.insert(Touched { after: before.clone(), before, needs });
        }
        Ok(self.images.entry(id).or_default())
    }

    /// Makes the change. `adopt` moves in the blobs that it needs, after it is clear that all can be written down. The
    /// answer is which blobs were removed.
    pub(super) fn commit(
        self,
        adopt: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<Vec<Digest>, StoreError> {
        let (records, links) = (self.records()?, self.links());
        let written = encode(&self.store.layout.change(), &links)?;
        let result = self.carry_out(adopt, &records, &links, &written);
        if result.is_err() {
            // The next command puts in order what is half done.
            self.marker.abandon();
        }
        result
    }

    fn carry_out(
        &self,
        adopt: impl FnOnce() -> Result<(), StoreError>,
        records: &Encoded,
        links: &ChangeRecord,
        written: &[u8],
    ) -> Result<Vec<Digest>, StoreError> {
        let layout = &self.store.layout;
        adopt()?;
        super::step();
        let needs = self.add_uses()?;
        write_records(layout, records)?;
        if self.remove_records()? {
            // What leads to an image that is gone leads to nothing: this need not last.
            layout.change_links(&links.names)?;
            for image in &links.named {
                remove_file(&layout.nameless_path(image))?;
            }
        } else if links.nameless.len() + links.names.len() <= 1 {
            links.apply(layout)?;
        } else {
            record::write_bytes(&layout.change(), written)?;
            super::step();
            links.finish(layout)?;
        }
        self.remove_unused(&needs)
    }

    /// The records to write: each with the names that the image gets and, until they lead elsewhere, those that it loses.
    fn records(&self) -> Result<Encoded, StoreError> {
        let mut records = Vec::new();
        for (id, touched) in &self.images {
            let Some(mut record) = touched.after.clone() else { continue };
            if let Some(before) = &touched.before {
                let kept: HashSet<&Reference> = record.names.iter().map(|named| &named.name).collect();
                let lost = before.names.iter().filter(|named| !kept.contains(&named.name)).cloned();
                record.names = lost.chain(record.names.iter().cloned()).collect();
            }
            if touched.before.as_ref() != Some(&record) {
                records.push((*id, encode(&self.store.layout.record(id), &record)?));
            }
        }
        Ok(records)
    }

    /// Where names lead after the change, and which images have none.
    fn links(&self) -> ChangeRecord {
        let is_nameless =
            |record: &Option<ImageRecord>| record.as_ref().is_some_and(|record| record.names.is_empty());
        let change = |from: bool, to: bool| {
            let changes = self.images.iter().filter(move |(_, touched)| {
                (is_nameless(&touched.before), is_nameless(&touched.after)) == (from, to)
            });
            changes.map(|(id, _)| *id).collect()
        };
        let names = self.names.iter().map(|(name, image)| (name.clone(), *image)).collect();
        ChangeRecord { format: CHANGE, nameless: change(false, true), names, named: change(true, false) }
    }

    /// Notes what each image will need, which is also the answer; nothing for one whose manifests cannot be read.
    fn add_uses(&self) -> Result<BTreeMap<ImageId, Option<Needs>>, StoreError> {
        let mut all = BTreeMap::new();
        for (id, touched) in &self.images {
            let needs = match &touched.after {
                Some(record) => self.store.needs(id, record).ok(),
                None => Some(Needs::default()),
            };
            let before = touched.needs.as_ref().map(Needs::shared).unwrap_or_default();
            let new = needs.iter().flat_map(Needs::shared).filter(|file| !before.contains(file));
            self.store.layout.add_uses(id, new)?;
            all.insert(*id, needs);
        }
        Ok(all)
    }

    /// Removes the records of the images that go, and says whether there are any.
    fn remove_records(&self) -> Result<bool, StoreError> {
        let layout = &self.store.layout;
        let gone =
            self.images.iter().filter(|(_, touched)| touched.before.is_some() && touched.after.is_none());
        let mut any = false;
        for (id, _) in gone {
            any |= remove_file(&layout.record(id))?;
            super::step();
        }
        if any {
            staging::sync(&layout.images())?;
        }
        Ok(any)
    }

    /// Removes what the images needed before and nothing needs now, and says which blobs that were.
    fn remove_unused(&self, needs: &BTreeMap<ImageId, Option<Needs>>) -> Result<Vec<Digest>, StoreError> {
        let (layout, mut removed) = (&self.store.layout, Vec::new());
        for (id, touched) in &self.images {
            if touched.before.is_none() {
                continue;
            }
            let (Some(before), Some(Some(after))) = (&touched.needs, needs.get(id)) else {
                // What a damaged image needed is found out by looking at what all others need.
                if touched.after.is_none() {
                    return self.store.repair();
                }
                continue;
            };
            let mut unused: Vec<Digest> = before.documents.difference(&after.documents).copied().collect();
            for layer in before.layers.difference(&after.layers) {
                if layout.drop_use(id, layer)? {
                    unused.push(*layer);
                }
            }
            if let Some(index) = before.index.filter(|index| after.index != Some(*index))
                && layout.drop_use(id, &index)?
            {
                remove_file(&self.store.index_path(&index))?;
            }
            for blob in unused {
                if layout.remove_blob(&blob)? {
                    removed.push(blob);
                }
                super::step();
            }
        }
        Ok(removed)
    }
}

impl ChangeRecord {
    /// Makes names lead to where they are to lead. The caller holds the store's lock.
    pub(super) fn apply(&self, layout: &Layout) -> Result<(), StoreError> {
        // An image that loses its last name is kept before it loses it.
        layout.keep_nameless(&self.nameless)?;
        layout.set_links(&self.names)?;
        for image in &self.named {
            remove_file(&layout.nameless_path(image))?;
            super::step();
        }
        Ok(())
    }

    /// The same for a change that was written down, which is then forgotten for good: made again after a later one, it
    /// would undo that.
    pub(super) fn finish(&self, layout: &Layout) -> Result<(), StoreError> {
        self.apply(layout)?;
        remove_file(&layout.change())?;
        super::step();
        staging::sync(layout.path())
    }
}

/// The bytes of a record, unless they would be too many to be read again.
fn encode<T: Serialize>(path: &Path, record: &T) -> Result<Vec<u8>, StoreError> {
    record::encode(path, record).map_err(|e| match e {
        RecordError::TooLarge { path } => StoreError::IndexFull { path },
        e => e.into(),
    })
}

/// Writes records, each of them whole or not at all, and makes them last. The caller holds the store's lock.
pub(super) fn write_records(layout: &Layout, records: &Encoded) -> Result<(), StoreError> {
    for (id, text) in records {
        let path = layout.record(id);
        let temporary = path.with_extension("tmp");
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        written
            .and_then(|mut file| {
                file.write_all(text)?;
                file.sync_data()
            })
            .map_err(StoreError::io(&temporary))?;
        super::step();
        fs::rename(&temporary, &path).map_err(StoreError::io(&path))?;
        super::step();
    }
    if records.is_empty() { Ok(()) } else { staging::sync(&layout.images()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::*;

    #[test]
    fn a_record_that_could_not_be_read_again_is_not_written() {
        let fixture = Fixture::new();
        let id = fixture.load(&docker(&["app"], &[&layer("a")])).unwrap()[0].id;
        let manifest = fixture.store.resolve("app").unwrap().manifest;
        let before = fixture.files();
        let record = fs::read(fixture.store.layout.record(&id)).unwrap();
        let mut change = fixture.store.change().unwrap();
        let long = format!("{}:{}", "x".repeat(200), "y".repeat(120));
        let names = usize::try_from(record::MAX_RECORD).unwrap() / long.len();
        let names: Vec<Reference> = (0..names).map(|i| format!("{long}{i:06}").parse().unwrap()).collect();
        change.give(id, manifest, Origin::default(), &names).unwrap();
        let error = change.commit(|| panic!("something moves in")).unwrap_err();
        assert!(matches!(error, StoreError::IndexFull { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("has no place for more names") && error.contains("moat rmi"), "{error}");
        assert_eq!(fs::read(fixture.store.layout.record(&id)).unwrap(), record);
        assert_eq!(fixture.files(), before);
        assert_eq!(fixture.store.list().unwrap()[0].references.len(), 1);
    }
}
