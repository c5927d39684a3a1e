//! OCI image layouts in an archive: `index.json` leads to manifests, directly or through further indexes.

use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch, Descriptor, ImageIndex, ImageManifest, MediaType, OciLayout, Os,
};
use serde::de::DeserializeOwned;

use super::super::digest::Digest;
use super::super::error::{LoadError, StoreError};
use super::super::limits::{MAX_IMAGES, MAX_INDEX_DEPTH, MAX_LAYERS};
use super::super::media::{is, is_layer};
use super::super::reference::Reference;
use super::super::shorten::shorten;
use super::collect::Members;
use super::plan::{NamedLayer, Plan};

pub(super) const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
/// The version that every layout in use has.
const LAYOUT_VERSION: &str = "1.0.0";
/// The annotation in which containerd, and so Docker, keeps the full name; the standard one may be only the tag there.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Reads the images of an archive that has an `index.json`.
pub(super) fn images(members: &Members) -> Result<Vec<Plan>, StoreError> {
    if members.has(LAYOUT) {
        let layout: OciLayout = parse(&members.document(LAYOUT, LAYOUT)?, LAYOUT)?;
        if layout.image_layout_version() != LAYOUT_VERSION {
            let version = shorten(layout.image_layout_version());
            let reason = format!("its version is {version:?}; Moat reads {LAYOUT_VERSION}");
            return Err(LoadError::Document { what: LAYOUT.to_owned(), reason }.into());
        }
    }
    let index: ImageIndex = parse(&members.document(INDEX, INDEX)?, INDEX)?;
    let all = index.manifests();
    if all.len() > MAX_IMAGES {
        return Err(LoadError::too_many("the archive's images", MAX_IMAGES).into());
    }
    if all.is_empty() {
        return Err(LoadError::NoImages(INDEX).into());
    }
    // An image of several platforms may be spread out here instead of in an index of its own.
    let ours: Vec<&Descriptor> = all.iter().filter(|descriptor| may_run_here(descriptor)).collect();
    if ours.is_empty() {
        return Err(no_platform(INDEX, all).into());
    }
    ours.into_iter().map(|descriptor| image(members, descriptor)).collect()
}

fn image(members: &Members, top: &Descriptor) -> Result<Plan, StoreError> {
    let references: Vec<Reference> = name(top)?.into_iter().collect();
    let label = match references.first() {
        Some(reference) => format!("image {}", reference.familiar()),
        None => format!("image {}", shorten(top.digest().as_ref())),
    };
    let mut descriptor = top.clone();
    for _ in 0..MAX_INDEX_DEPTH {
        let what = format!("{label}, manifest {}", shorten(descriptor.digest().as_ref()));
        if is(descriptor.media_type(), &MediaType::ImageManifest) {
            let manifest: ImageManifest = parse(&blob_document(members, &descriptor, &what)?, &what)?;
            return from_manifest(members, &label, &manifest, references);
        }
        if !is(descriptor.media_type(), &MediaType::ImageIndex) {
            return Err(unknown_type(&what, descriptor.media_type()).into());
        }
        let index: ImageIndex = parse(&blob_document(members, &descriptor, &what)?, &what)?;
        descriptor = choose(&what, &index)?;
    }
    let reason = format!("it has more than {MAX_INDEX_DEPTH} indexes one inside the other");
    Err(LoadError::Document { what: label, reason }.into())
}

fn from_manifest(
    members: &Members,
    label: &str,
    manifest: &ImageManifest,
    references: Vec<Reference>,
) -> Result<Plan, StoreError> {
    let what = format!("the config of {label}");
    if !is(manifest.config().media_type(), &MediaType::ImageConfig) {
        return Err(unknown_type(&what, manifest.config().media_type()).into());
    }
    let config = member_of(members, manifest.config(), &what)?;
    if manifest.layers().len() > MAX_LAYERS {
        let count = manifest.layers().len();
        return Err(LoadError::too_many(format!("the layers of {label}, {count},"), MAX_LAYERS).into());
    }
    let layers = manifest.layers().iter().enumerate().map(|(i, layer)| {
        let digest = shorten(layer.digest().as_ref());
        let what = format!("{label}, layer {} ({digest})", i + 1);
        if !is_layer(layer.media_type()) {
            return Err(unknown_type(&what, layer.media_type()));
        }
        Ok(NamedLayer { member: blob_name(layer, &what)?, label: digest, size: Some(layer.size()) })
    });
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    Plan::check(members, label, &config, &layers, references)
}

/// The name that a descriptor gives its image. A word alone is a tag without a repository, which is no name.
fn name(descriptor: &Descriptor) -> Result<Option<Reference>, LoadError> {
    let Some(annotations) = descriptor.annotations() else { return Ok(None) };
    let named = annotations.get(CONTAINERD_NAME).or_else(|| {
        let name = annotations.get(ANNOTATION_REF_NAME);
        name.filter(|name| name.contains(['/', ':', '@']))
    });
    let Some(named) = named else { return Ok(None) };
    let what = format!("a name in {INDEX}");
    named.parse().map(Some).map_err(|cause| LoadError::Reference { what, cause })
}

/// The manifest for this machine in an index of several.
fn choose(what: &str, index: &ImageIndex) -> Result<Descriptor, LoadError> {
    let all = index.manifests();
    let exact = all.iter().find(|one| one.platform().is_some() && may_run_here(one));
    let chosen = exact.or_else(|| all.iter().find(|one| may_run_here(one)));
    chosen.cloned().ok_or_else(|| no_platform(what, all))
}

/// Whether the descriptor says that it is for this machine, or does not say.
fn may_run_here(descriptor: &Descriptor) -> bool {
    match descriptor.platform() {
        Some(platform) => *platform.os() == Os::Linux && *platform.architecture() == Arch::Amd64,
        None => true,
    }
}

fn no_platform(what: &str, all: &[Descriptor]) -> LoadError {
    /// As many as a message can bear.
    const MOST: usize = 16;
    let platforms = all.iter().filter_map(|one| one.platform().as_ref()).take(MOST);
    let offered = platforms.map(|p| shorten(&format!("{}/{}", p.os(), p.architecture()))).collect();
    LoadError::Platform { what: what.to_owned(), offered }
}

fn unknown_type(what: &str, media_type: &MediaType) -> LoadError {
    LoadError::MediaType { what: what.to_owned(), media_type: shorten(media_type.as_ref()) }
}

/// The member that holds a descriptor's blob.
fn blob_name(descriptor: &Descriptor, what: &str) -> Result<String, LoadError> {
    let digest: Result<Digest, _> = descriptor.digest().as_ref().parse();
    let digest = digest.map_err(|cause| LoadError::Digest { what: what.to_owned(), cause })?;
    Ok(format!("blobs/sha256/{}", digest.hex()))
}

/// The same, when the member has the size that the descriptor gives. Its name makes sure of its digest.
fn member_of(members: &Members, descriptor: &Descriptor, what: &str) -> Result<String, LoadError> {
    let name = blob_name(descriptor, what)?;
    let size = members.file(&name, what)?.size;
    if size == descriptor.size() {
        return Ok(name);
    }
    let (expected, got) = (format!("of {} bytes", descriptor.size()), size.to_string());
    Err(LoadError::Mismatch { what: what.to_owned(), kind: "a size", expected, got })
}

fn blob_document(members: &Members, descriptor: &Descriptor, what: &str) -> Result<Vec<u8>, StoreError> {
    members.document(&member_of(members, descriptor, what)?, what)
}

fn parse<T: DeserializeOwned>(text: &[u8], what: &str) -> Result<T, LoadError> {
    serde_json::from_slice(text)
        .map_err(|e| LoadError::Document { what: what.to_owned(), reason: shorten(&e.to_string()) })
}
