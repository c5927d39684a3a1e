//! One image, as it is in the store.

use jiff::Timestamp;
use oci_spec::image::{ImageConfiguration, ImageManifest};
use serde_json::Value;

use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::layout::{Entry, Layout};
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

    /// Whether this is one of its names, or the name and digest under which a registry has it.
    pub(super) fn is_called(&self, name: &Reference) -> bool {
        self.references.contains(name)
            || name.digest().is_some_and(|digest| self.repo_digests.contains(&name.with_digest(digest)))
    }

    /// Takes in what another entry of the index says about the same image.
    pub(super) fn join(&mut self, entry: &Entry) {
        self.references.extend(entry.reference.clone());
        self.repo_digests.extend(repo_digest(entry));
        self.originals.extend(original(entry));
    }

    /// Reads the image that `entry` of the index leads to, under this one name.
    pub(super) fn read(layout: &Layout, entry: &Entry) -> Result<Self, StoreError> {
        let damaged = |reason: String| StoreError::Damaged { path: layout.blob(&entry.manifest), reason };
        let manifest: ImageManifest = layout.document(&entry.manifest)?;
        let digest = |descriptor: &oci_spec::image::Descriptor| -> Result<Digest, StoreError> {
            descriptor.digest().as_ref().parse().map_err(|e| damaged(format!("{e}")))
        };
        let config = digest(manifest.config())?;
        let document: Value = layout.document(&config)?;
        let layers = manifest.layers().iter();
        Ok(Self {
            id: ImageId(config),
            references: entry.reference.iter().cloned().collect(),
            repo_digests: repo_digest(entry).into_iter().collect(),
            originals: original(entry).into_iter().collect(),
            manifest: entry.manifest,
            config: serde_json::from_value(document.clone())
                .map_err(|e| StoreError::Damaged { path: layout.blob(&config), reason: e.to_string() })?,
            document,
            layers: layers
                .map(|layer| Ok(Layer { diff_id: digest(layer)?, size: layer.size() }))
                .collect::<Result<_, StoreError>>()?,
        })
    }
}

fn repo_digest(entry: &Entry) -> Option<Reference> {
    Some(entry.reference.as_ref()?.with_digest(entry.origin.digest?))
}

fn original(entry: &Entry) -> Option<(Option<Reference>, Digest)> {
    Some((entry.reference.clone(), entry.origin.manifest?))
}
