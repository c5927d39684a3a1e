//! The image store: an OCI image layout whose layers are kept uncompressed.
//!
//! ```text
//! ROOT/images/                an OCI image layout that other tools can read
//!   oci-layout, index.json    one manifest descriptor for each name
//!   blobs/sha256/DIGEST       configs as they came, layers as uncompressed tars, manifests of the store's own making;
//!                             of images from registries also their manifests and layers as they came
//! ROOT/indexes/KEY.erofs      the index of a list of layers: with the tars, the image's disk
//! ROOT/partial/DIGEST         a compressed layer on its way in, locked by who fetches it; another pull goes on with it
//! ROOT/staging/RANDOM/        files on their way in, guarded by a lock that their owner holds
//! ROOT/images.lock            held while index.json changes and while blobs come and go
//! ```
//!
//! A layer's digest is its diff_id, so the config says how to verify every byte of an image. New blobs are written in a
//! staging directory, synced, renamed into place and only then named in `index.json`; blobs are removed only after
//! nothing in `index.json` leads to them. A process that is killed at any point thus leaves a consistent store, and
//! what it left is removed when the store is opened next: its staging directory tells that there is something.

mod check;
mod digest;
mod disk;
mod error;
mod image;
mod layout;
pub mod limits;
mod load;
mod media;
mod original;
mod partial;
mod pull;
mod push;
mod reference;
mod remove;
mod room;
mod save;
mod staging;
mod tag;
mod usage;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use self::layout::{Entry, Layout};
use self::staging::Staging;
use crate::record::Lock;
use crate::root::Root;

pub use self::check::Checked;
pub use self::digest::{Digest, DigestError, ImageId};
pub use self::disk::{ImageDisk, Segment};
pub use self::error::{LoadError, StoreError, shorten};
pub use self::image::{Image, Layer};
pub use self::load::{LoadEvent, Loaded, Replaced, StagedLayer};
pub use self::media::{is, is_layer};
pub use self::pull::{Arrival, Fetch, FetchedLayer, Incoming, Pulled, WantedLayer, diff_ids};
pub use self::push::{Outgoing, OutgoingBlob};
pub use self::reference::{Reference, ReferenceError};
pub use self::remove::{ImageUser, Removed};
pub use self::usage::{ImageUsage, Usage};

/// The images under one root directory.
#[derive(Debug, Clone)]
pub struct ImageStore {
    root: Root,
    layout: Layout,
}

impl ImageStore {
    /// Opens the store, makes it if there is none, and removes what interrupted commands left.
    ///
    /// # Errors
    /// When a file of the store cannot be read or written.
    pub fn open(root: &Root) -> Result<Self, StoreError> {
        let store = Self { root: root.clone(), layout: Layout::at(root.images()) };
        let staging = store.staging();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&staging)
            .map_err(StoreError::io(&staging))?;
        if !store.layout.exists() {
            let _lock = store.lock()?;
            store.layout.create()?;
        }
        // The lock is taken only if there is something to remove: listing images waits for nobody.
        let staged = fs::read_dir(&staging).map_err(StoreError::io(&staging))?.next().is_some();
        if staged || store.layout.needs_sweep() {
            let _lock = store.lock()?;
            store.layout.sweep()?;
            if staging::sweep(&staging)? {
                // Whoever left it may have moved some blobs in before it was killed.
                store.collect_garbage(&store.layout.read_index()?)?;
            }
        }
        Ok(store)
    }

    /// All images, the newest first. An image whose files are damaged is left out, with a warning in the log.
    ///
    /// # Errors
    /// When the list itself cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        Ok(self.images(&self.layout.read_index()?))
    }

    /// Finds an image by its name (`busybox`, `localhost/app:1`), by its id, or by the beginning of its id.
    ///
    /// # Errors
    /// [`StoreError::NoSuchImage`], [`StoreError::Ambiguous`], or when the store cannot be read.
    pub fn resolve(&self, name: &str) -> Result<Image, StoreError> {
        let entries = self.layout.read_index()?;
        let images = self.images(&entries);
        match find(&images, name) {
            Ok(found) => Ok(images[found.image].clone()),
            // A damaged image is not in the list: its own error says more than "no such image".
            Err(e) => {
                if let Some(entry) = named_entry(&entries, name) {
                    Image::read(&self.layout, entry)?;
                }
                Err(e)
            }
        }
    }

    fn images(&self, entries: &[Entry]) -> Vec<Image> {
        let mut images: Vec<Image> = Vec::new();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for entry in entries {
            if let Some(&known) = places.get(&entry.manifest) {
                images[known].join(entry);
                continue;
            }
            match Image::read(&self.layout, entry) {
                Ok(image) => {
                    places.insert(entry.manifest, images.len());
                    images.push(image);
                }
                Err(e) => tracing::warn!(manifest = %entry.manifest, "an image is left out: {e}"),
            }
        }
        for image in &mut images {
            image.references.sort();
            image.repo_digests.sort();
            image.repo_digests.dedup();
        }
        images.sort_by_key(|image| (std::cmp::Reverse(image.created()), image.id));
        images
    }

    fn lock(&self) -> Result<Lock, StoreError> {
        Ok(Lock::wait(&self.root.path().join("images.lock"))?)
    }

    fn staging(&self) -> PathBuf {
        self.root.path().join("staging")
    }

    fn partial(&self) -> PathBuf {
        self.root.path().join("partial")
    }

    /// A directory for the files of one operation.
    fn stage(&self) -> Result<Staging, StoreError> {
        let _lock = self.lock()?;
        Staging::create(&self.staging())
    }
}

/// Which image somebody meant.
struct Found {
    /// Its place in the list.
    image: usize,
    /// The name, if it was meant by its name and not by its id.
    reference: Option<Reference>,
}

/// Docker's order: the full id, the name, the beginning of the id.
fn find(images: &[Image], text: &str) -> Result<Found, StoreError> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let by_id = |exact: bool| {
        let mut matches = images.iter().enumerate().filter(|(_, image)| {
            let id = image.id.0.hex();
            if exact { id == hex } else { id.starts_with(hex) }
        });
        match (matches.next(), matches.next()) {
            (Some((image, _)), None) => Ok(Some(Found { image, reference: None })),
            (Some(_), Some(_)) => Err(StoreError::Ambiguous(text.to_owned())),
            (None, _) => Ok(None),
        }
    };
    if let Some(found) = by_id(true)? {
        return Ok(found);
    }
    let reference = text.parse::<Reference>();
    if let Ok(reference) = &reference
        && let Some(image) = images.iter().position(|image| image.is_called(reference))
    {
        return Ok(Found { image, reference: Some(reference.clone()) });
    }
    let looks_like_id = !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if looks_like_id && let Some(found) = by_id(false)? {
        return Ok(found);
    }
    match reference {
        Ok(reference) => Err(StoreError::NoSuchImage(reference.familiar())),
        Err(_) if looks_like_id => Err(StoreError::NoSuchImage(text.to_owned())),
        Err(e) => Err(e.into()),
    }
}

/// The line of the index that has this very name.
fn named_entry<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let reference: Reference = name.parse().ok()?;
    entries.iter().find(|entry| entry.reference.as_ref() == Some(&reference))
}
