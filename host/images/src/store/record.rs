//! The store's records. Each says which format it is in: one of an older format is read, one of a newer format is refused
//! as newer, so that an older version of Moat neither misreads nor repairs what it does not know.

use std::path::Path;

use moat_records::record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::reference::Reference;

/// The format of the store as a whole. Format 1 was an `index.json` of the OCI that listed everything.
pub(super) const STORE: u32 = 2;
/// The newest format of an image's record.
pub(super) const IMAGE: u32 = 1;
/// The newest format of the record of a change.
pub(super) const CHANGE: u32 = 1;

/// The record of the store's format.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoreRecord {
    /// [`STORE`].
    pub format: u32,
    /// Which version of the writer of indexes made those that are there.
    pub index_writer: u32,
}

/// The record of an image. What it says of a name holds as long as the name leads to the image: that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    /// [`IMAGE`].
    pub format: u32,
    /// The manifest that the store keeps.
    pub manifest: Digest,
    /// The manifest with which an image without a name came or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Digest>,
    /// The image's names, the newest last.
    pub names: Vec<Named>,
}

/// What is known of an image under one of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    /// The name.
    pub name: Reference,
    /// Where the image came from or went to under it.
    #[serde(default)]
    pub origin: Origin,
}

/// What ties an image of the store to registries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The manifest with which it was pulled or pushed. The store keeps that and all that it names, so that the
    /// image goes to another registry byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// What this name meant when it was pulled or pushed: the digest of a manifest, or of an index that leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A change of several names. It is made as soon as it is written down, and finished by the next command if need be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChangeRecord {
    /// [`CHANGE`].
    pub format: u32,
    /// Images that are kept without a name from now on.
    pub nameless: Vec<ImageId>,
    /// Where each name leads from now on.
    pub names: Vec<(Reference, Option<ImageId>)>,
    /// Images that are no longer without a name.
    pub named: Vec<ImageId>,
}

impl ImageRecord {
    /// The record of an image that has no name yet.
    pub(super) fn new(manifest: Digest) -> Self {
        Self { format: IMAGE, manifest, original: None, names: Vec::new() }
    }

    /// What is known of the image under `name`.
    pub(super) fn named(&self, name: &Reference) -> Option<&Named> {
        self.names.iter().find(|named| named.name == *name)
    }

    /// The manifests with which it came or went, and under which names; the newest name comes last.
    pub(super) fn originals(&self) -> Vec<(Option<Reference>, Digest)> {
        if self.names.is_empty() {
            return self.original.iter().map(|&digest| (None, digest)).collect();
        }
        let named = self.names.iter();
        named.filter_map(|named| Some((Some(named.name.clone()), named.origin.manifest?))).collect()
    }
}

/// Reads the record at `path`, of which `newest` is the newest format that is known.
///
/// # Errors
/// [`StoreError::Newer`] when its format is newer than that, others when it cannot be read.
pub(super) fn read<T: DeserializeOwned>(path: &Path, newest: u32) -> Result<T, StoreError> {
    let value: Value = record::read_document(path)?;
    parse(path, value, newest)
}

/// Understands `value`, which is the record at `path`.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, value: Value, newest: u32) -> Result<T, StoreError> {
    let format = value.get("format").and_then(Value::as_u64);
    if let Some(format) = format.filter(|&format| format > u64::from(newest)) {
        return Err(StoreError::Newer { path: path.to_owned(), format, newest });
    }
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    if format.is_none() {
        return Err(damaged("it does not say which format it is in".to_owned()));
    }
    serde_json::from_value(value).map_err(|e| damaged(e.to_string()))
}

/// An image as its record has it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// The image's id.
    pub id: ImageId,
    /// Its record, with those names that lead to it.
    pub record: ImageRecord,
}
