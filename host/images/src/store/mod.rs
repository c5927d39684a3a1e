//! The image store: images with their names, and their layers without compression.
//!
//! ```text
//! ROOT/images/
//!   index.json                the format of the store
//!   names/REPOSITORY/TAG      a link to the image of that name
//!   nameless/IMAGE            an image that is kept without a name
//!   ids/IMAGE                 the record of an image: its manifest, its names, where it came from
//!   uses/FILE/IMAGE           an image that needs this layer or this index
//!   change                    a change of several names, until it is made
//!   blobs/sha256/DIGEST       configs as they came, layers as uncompressed tars, manifests of the store's own making;
//!                             of images from registries also their manifests and layers as they came
//! ROOT/indexes/KEY.erofs      the index of a list of layers: with the tars, the image's disk
//! ROOT/partial/DIGEST         an incomplete compressed layer, locked by the pull that fetches it; the next continues it
//! ROOT/staging/RANDOM/        files on their way in, guarded by a lock that their owner holds
//! ROOT/images.lock            held while names change and while blobs come and go
//! ```
//!
//! A look-up opens the files of the image that is meant and of no other, however many there are; so do the changes that
//! give and remove one. Only what is about all images reads all of them.
//!
//! A layer's digest is its diff_id, so the config says how to verify every byte of an image. New blobs are written in a
//! staging directory, synced, renamed into place, and only then does a name lead to them; blobs are removed only after
//! nothing leads to them. A process that is killed at any point thus leaves a consistent store ([`change`]), and what it
//! left is removed when the store is opened next: its staging directory tells that there is something.

mod budget;
mod change;
mod check;
mod digest;
mod disk;
mod download;
mod error;
mod fetch;
mod find;
mod image;
mod layout;
pub mod limits;
mod load;
mod media;
mod names;
mod original;
mod partial;
mod pull;
mod push;
mod record;
mod reference;
mod remove;
mod repair;
mod room;
mod save;
mod shorten;
mod staging;
mod tag;
mod takeover;
mod usage;
mod uses;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use self::layout::Layout;
use self::record::Stored;
use self::staging::Staging;
use moat_records::record::Lock;
use moat_records::root::Root;

pub use self::check::Checked;
pub use self::digest::{Digest, DigestError, ImageId};
pub use self::disk::{ImageDisk, Segment};
pub use self::error::{LoadError, StoreError};
pub use self::fetch::{Arrival, Fetch};
pub use self::image::{Image, Layer};
pub use self::load::{LoadEvent, Loaded, Replaced, StagedLayer};
pub use self::media::{is, is_layer};
pub use self::pull::{FetchedLayer, Incoming, Pulled, WantedLayer, diff_ids};
pub use self::push::{Outgoing, OutgoingBlob};
pub use self::reference::{Reference, ReferenceError};
pub use self::remove::{ImageUser, Removed};
pub use self::shorten::shorten;
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
        store.prepare()?;
        // The lock is taken only if there is something to remove: listing images waits for no other command.
        let staged = fs::read_dir(&staging).map_err(StoreError::io(&staging))?.next().is_some();
        if staged || store.layout.is_unfinished() {
            let _lock = store.lock()?;
            store.recover()?;
        }
        Ok(store)
    }

    /// All images, the newest first. An image whose files are damaged is left out, with a warning in the log.
    ///
    /// # Errors
    /// When the images cannot be listed.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        let mut images = Vec::new();
        for id in self.ids()? {
            match self.stored(&id) {
                Ok(stored) => images.extend(stored.and_then(|stored| self.read_or_warn(&stored))),
                Err(e) => tracing::warn!(image = %id, "an image is left out: {e}"),
            }
        }
        Ok(sorted(images))
    }

    /// Finds an image by its name (`busybox`, `localhost/app:1`), by its id, or by the beginning of its id.
    ///
    /// # Errors
    /// [`StoreError::NoSuchImage`], [`StoreError::Ambiguous`], or when the image cannot be read.
    pub fn resolve(&self, name: &str) -> Result<Image, StoreError> {
        Image::read(&self.layout, &self.find(name)?.stored)
    }

    /// Whether the store still has an image that was found before.
    ///
    /// # Errors
    /// When the image's record cannot be read.
    pub fn has(&self, id: &ImageId) -> Result<bool, StoreError> {
        Ok(self.stored(id)?.is_some())
    }

    fn read_or_warn(&self, stored: &Stored) -> Option<Image> {
        let read = Image::read(&self.layout, stored);
        read.inspect_err(|e| tracing::warn!(image = %stored.id, "an image is left out: {e}")).ok()
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

/// The newest image first.
fn sorted(mut images: Vec<Image>) -> Vec<Image> {
    images.sort_by_key(|image| (std::cmp::Reverse(image.created()), image.id));
    images
}

/// A place where a test kills the process.
#[cfg(not(test))]
fn step() {}

#[cfg(test)]
use self::tests::step;
#[cfg(test)]
mod tests;
