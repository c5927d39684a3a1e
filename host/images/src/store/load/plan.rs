//! What an archive's documents say about one image, checked against what was staged.

use oci_spec::image::ImageConfiguration;

use super::super::digest::{Digest, ImageId};
use super::super::error::{LoadError, StoreError};
use super::super::limits::MAX_LAYERS;
use super::super::reference::Reference;
use super::super::shorten::shorten;
use super::collect::{Members, check};
use super::content::StagedBlob;
use super::stream::Compression;

/// An image that is complete and sound, and not in the store yet.
#[derive(Debug)]
pub(in crate::store) struct Plan {
    /// The names that it is to get.
    pub references: Vec<Reference>,
    /// The digest of its config.
    pub id: ImageId,
    /// The config.
    pub config: StagedBlob,
    /// The layers, the lowest first.
    pub layers: Vec<StagedBlob>,
}

/// A layer, as the documents name it.
pub(super) struct NamedLayer {
    /// The member that holds it.
    pub member: String,
    /// What it is called in messages.
    pub label: String,
    /// The size in bytes that the member must have, if the documents say.
    pub size: Option<u64>,
}

impl Plan {
    /// Checks that the image has all that its documents promise. `image` is what it is called in messages.
    pub(super) fn check(
        members: &Members,
        image: &str,
        config: &str,
        layers: &[NamedLayer],
        references: Vec<Reference>,
    ) -> Result<Self, StoreError> {
        let what = format!("the config of {image}");
        let text = members.document(config, &what)?;
        let staged = staged(members, config, &what)?;
        let document = |reason: String| LoadError::Document { what: what.clone(), reason };
        let parsed: ImageConfiguration =
            serde_json::from_slice(&text).map_err(|e| document(shorten(&e.to_string())))?;
        let rootfs = parsed.rootfs();
        if rootfs.typ() != "layers" {
            let kind = shorten(rootfs.typ());
            return Err(document(format!("its rootfs is of the type {kind:?}, not \"layers\"")).into());
        }
        let (count, diff_ids) = (layers.len(), rootfs.diff_ids());
        if count > MAX_LAYERS {
            return Err(LoadError::too_many(format!("the layers of {image}, {count},"), MAX_LAYERS).into());
        }
        if count != diff_ids.len() {
            let what = image.to_owned();
            return Err(LoadError::LayerCount { what, layers: count, diff_ids: diff_ids.len() }.into());
        }
        if layers.is_empty() {
            return Err(LoadError::NoLayers(image.to_owned()).into());
        }
        let layers = layers.iter().zip(diff_ids).enumerate().map(|(i, (layer, diff_id))| {
            let what = format!("{image}, layer {} ({})", i + 1, shorten(&layer.label));
            check_layer(members, &what, layer, diff_id)
        });
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self { references, id: ImageId(staged.digest), config: staged, layers })
    }
}

fn check_layer(
    members: &Members,
    what: &str,
    layer: &NamedLayer,
    diff_id: &str,
) -> Result<StagedBlob, LoadError> {
    let expected: Digest =
        diff_id.parse().map_err(|cause| LoadError::Digest { what: format!("{what}, diff_id"), cause })?;
    let member = members.file(&layer.member, what)?;
    if let Some(size) = layer.size.filter(|&size| size != member.size) {
        let (expected, got) = (format!("of {size} bytes"), format!("{}", member.size));
        return Err(LoadError::Mismatch { what: what.to_owned(), kind: "a size", expected, got });
    }
    let staged = staged(members, &layer.member, what)?;
    if let (Compression::Unknown(tool), false) = (member.compression, expected == staged.digest) {
        let reason = format!("it is compressed with {tool}; Moat reads gzip, zstd and uncompressed layers");
        return Err(LoadError::Layer { what: what.to_owned(), reason });
    }
    check(what, "diff_id", expected, staged.digest)?;
    Ok(staged)
}

/// The staged file of a member, without compression.
fn staged(members: &Members, member: &str, what: &str) -> Result<StagedBlob, LoadError> {
    let content = members.file(member, what)?.content.clone();
    content.map_err(|e| LoadError::Layer { what: what.to_owned(), reason: e.to_string() })
}
