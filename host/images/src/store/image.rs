//! One image, as it is in the store.

use jiff::Timestamp;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest};
use serde_json::Value;

use super::digest::{Digest, DigestError, ImageId};
use super::error::StoreError;
use super::layout::Layout;
use super::record::Stored;
use super::reference::Reference;

/// An image of the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the config.
    pub id: ImageId,
    /// The image's names, sorted; none for an image that Docker shows as `<none>`.
    pub references: Vec<Reference>,
    /// The names by digest under which registries have the image, sorted.
    pub repo_digests: Vec<Reference>,
    /// The manifests with which it was pulled or pushed, and under which names; the newest name comes last.
    pub(super) originals: Vec<(Option<Reference>, Digest)>,
    /// The digest of the manifest that the store keeps.
    pub manifest: Digest,
    /// The config.
    pub config: ImageConfiguration,
    /// The config as it is written, with what [`ImageConfiguration`] has no field for (health checks, for one).
    pub document: Value,
    /// The layers, the lowest first. A layer may occur twice.
    pub layers: Vec<Layer>,
}

/// One layer of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the uncompressed tar, which is what the store keeps.
    pub diff_id: Digest,
    /// The size of the uncompressed tar, in bytes.
    pub size: u64,
}

impl Image {
    /// When the image was made, if its config says so in a way that can be understood.
    pub fn created(&self) -> Option<Timestamp> {
        let created: Timestamp = self.config.created().as_ref()?.parse().ok()?;
        // Year 1 is how Go writes "never".
        (created > Timestamp::UNIX_EPOCH).then_some(created)
    }

    /// The size of all layers, in bytes.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// The system and the architecture that the image is for, such as `linux/amd64`.
    pub fn platform(&self) -> String {
        format!("{}/{}", self.config.os(), self.config.architecture())
    }

    /// The digest under which the repository of `name` has the image.
    pub fn digest_in(&self, name: &Reference) -> Option<Digest> {
        self.repo_digests.iter().find(|known| known.is_same_repository(name)).and_then(Reference::digest)
    }

    /// Whether it was pulled with this manifest.
    pub fn came_as(&self, manifest: &[u8]) -> bool {
        let digest = Digest::of(manifest);
        self.originals.iter().any(|(_, original)| *original == digest)
    }

    /// The manifest that goes out under `name`: what came or went under this very name, else in its repository, else
    /// last.
    pub(super) fn original_for(&self, name: Option<&Reference>) -> Option<Digest> {
        let fits = |fit: &dyn Fn(&Reference) -> bool| {
            let mut newest_first = self.originals.iter().rev();
            newest_first.find(|(known, _)| known.as_ref().is_some_and(fit)).map(|(_, digest)| *digest)
        };
        name.and_then(|name| {
            fits(&|known| known == name).or_else(|| fits(&|known| known.is_same_repository(name)))
        })
        .or_else(|| self.originals.last().map(|(_, digest)| *digest))
    }

    /// Reads the image that the store has under this record.
    pub(super) fn read(layout: &Layout, stored: &Stored) -> Result<Self, StoreError> {
        let record = &stored.record;
        let (id, layers) = manifest_of(layout, &record.manifest)?;
        let document: Value = layout.document(&id.0)?;
        let mut references: Vec<_> = record.names.iter().map(|named| named.name.clone()).collect();
        references.sort();
        let digests =
            record.names.iter().filter_map(|named| Some(named.name.with_digest(named.origin.digest?)));
        let mut repo_digests: Vec<_> = digests.collect();
        repo_digests.sort();
        repo_digests.dedup();
        Ok(Self {
            id,
            references,
            repo_digests,
            originals: record.originals(),
            manifest: record.manifest,
            config: serde_json::from_value(document.clone())
                .map_err(|e| StoreError::Damaged { path: layout.blob(&id.0), reason: e.to_string() })?,
            document,
            layers,
        })
    }
}

/// The id and the layers of the image whose manifest the store keeps as `digest`.
pub(super) fn manifest_of(layout: &Layout, digest: &Digest) -> Result<(ImageId, Vec<Layer>), StoreError> {
    let manifest: ImageManifest = layout.document(digest)?;
    let digest_in = |descriptor: &Descriptor| {
        let damaged = |reason| StoreError::Damaged { path: layout.blob(digest), reason };
        descriptor.digest().as_ref().parse().map_err(|e: DigestError| damaged(e.to_string()))
    };
    let id = ImageId(digest_in(manifest.config())?);
    let layers = manifest.layers().iter();
    let layers = layers.map(|layer| Ok(Layer { diff_id: digest_in(layer)?, size: layer.size() }));
    Ok((id, layers.collect::<Result<_, StoreError>>()?))
}
