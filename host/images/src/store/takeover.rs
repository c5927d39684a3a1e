//! Stores of format 1, which earlier versions of Moat wrote: an OCI image layout whose `index.json` lists everything, with
//! one descriptor of a manifest for each name. The first command that opens such a store takes it over.
//!
//! `index.json` counts until the record of the format takes its place, in one step. A takeover that is killed before that is
//! begun again from nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;

use moat_records::record::{self, RecordError};
use nix::unistd::syncfs;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex};
use serde_json::Value;

use super::ImageStore;
use super::change::write_records;
use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::image::manifest_of;
use super::layout::remove_file;
use super::record::{self as records, ImageRecord, Named, Origin, STORE, StoreRecord};

/// The annotations in which `index.json` has [`Origin`].
const ORIGIN_MANIFEST: &str = "io.moat.origin.manifest";
const ORIGIN_DIGEST: &str = "io.moat.origin.digest";

/// What the file marks that makes a directory an OCI image layout.
const LAYOUT_FILE: &str = "oci-layout";

/// What is in a store's directory.
enum Contents {
    /// There is no store yet.
    Nothing,
    /// A list of everything, of format 1.
    List(Box<ImageIndex>),
    /// A store of the present format.
    Store(StoreRecord),
}

impl ImageStore {
    /// Makes the store if there is none, and takes over one of an older format.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        let is_ready = |contents: &Contents| matches!(contents, Contents::Store(store) if store.is_current());
        if is_ready(&self.contents()?) {
            return Ok(());
        }
        let _lock = self.lock()?;
        // Another command may have done it meanwhile.
        match self.contents()? {
            Contents::Nothing => self.layout.create()?,
            Contents::List(list) => self.take_over(&list)?,
            Contents::Store(store) if store.is_current() => return Ok(()),
            // The indexes of another version of the writer go; those of this one are made when they are needed.
            Contents::Store(_) => drop(self.repair()?),
        }
        remove_file(&self.layout.path().join(LAYOUT_FILE))?;
        super::step();
        Ok(record::write_document(&self.layout.format(), &StoreRecord::current())?)
    }

    fn contents(&self) -> Result<Contents, StoreError> {
        let path = self.layout.format();
        let value: Value = match record::read_document(&path) {
            Err(e) if e.is_not_found() => return Ok(Contents::Nothing),
            other => other?,
        };
        if value.get("format").is_some() {
            return records::parse(&path, value, STORE).map(Contents::Store);
        }
        let list = serde_json::from_value(value);
        Ok(Contents::List(list.map_err(|source| RecordError::Damaged { path, source })?))
    }

    /// Writes the records of what `list` has, in the place of what an interrupted takeover left.
    fn take_over(&self, list: &ImageIndex) -> Result<(), StoreError> {
        tracing::info!(
            names = list.manifests().len(),
            "taking over the images of an earlier version of Moat"
        );
        let layout = &self.layout;
        for directory in [layout.names(), layout.nameless(), layout.images(), layout.uses()] {
            match fs::remove_dir_all(&directory) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(StoreError::io(&directory)(e)),
                _ => super::step(),
            }
        }
        layout.create()?;
        let images = self.images_of(list)?;
        let (mut written, mut links) = (Vec::new(), Vec::new());
        for (id, image) in &images {
            written.push((*id, record::encode(&layout.record(id), image)?));
            links.extend(image.names.iter().map(|named| (named.name.clone(), Some(*id))));
        }
        let nameless: Vec<ImageId> =
            images.iter().filter(|(_, image)| image.names.is_empty()).map(|(id, _)| *id).collect();
        write_records(layout, &written)?;
        layout.keep_nameless(&nameless)?;
        layout.set_links(&links)?;
        self.repair()?;
        let directory = File::open(layout.path()).map_err(StoreError::io(layout.path()))?;
        syncfs(directory).map_err(|e| StoreError::io(layout.path())(e.into()))
    }

    /// What each image's record is, going by the list.
    fn images_of(&self, list: &ImageIndex) -> Result<BTreeMap<ImageId, ImageRecord>, StoreError> {
        let mut images: BTreeMap<ImageId, ImageRecord> = BTreeMap::new();
        for descriptor in list.manifests() {
            let manifest: Digest = descriptor
                .digest()
                .as_ref()
                .parse()
                .map_err(|e| StoreError::Damaged { path: self.layout.format(), reason: format!("{e}") })?;
            // One whose manifest is damaged has no id to be known by. It keeps its name, so that it can be removed.
            let id = manifest_of(&self.layout, &manifest).map_or(ImageId(manifest), |(id, _)| id);
            let image = images.entry(id).or_insert_with(|| ImageRecord::new(manifest));
            let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key));
            let digest = |key: &str| annotation(key).and_then(|digest| digest.parse().ok());
            let origin = Origin { manifest: digest(ORIGIN_MANIFEST), digest: digest(ORIGIN_DIGEST) };
            match name(descriptor) {
                Some(name) if image.named(&name).is_none() => image.names.push(Named { name, origin }),
                Some(_) => {}
                None => image.original = image.original.or(origin.manifest),
            }
        }
        Ok(images)
    }
}

fn name(descriptor: &Descriptor) -> Option<super::Reference> {
    descriptor.annotations().as_ref()?.get(ANNOTATION_REF_NAME)?.parse().ok()
}

impl StoreRecord {
    fn current() -> Self {
        Self { format: STORE, index_writer: moat_rootfs::WRITER_VERSION }
    }

    fn is_current(&self) -> bool {
        (self.format, self.index_writer) == (STORE, moat_rootfs::WRITER_VERSION)
    }
}
