//! Docker's image archives: `manifest.json`, an array of objects that name the config and the layers of each image.
//!
//! Old ones have a directory for each layer, where a layer that occurs twice is a symbolic link the second time; new
//! ones are OCI layouts too, and `manifest.json` names blobs of that.

use serde::Deserialize;

use super::super::error::{LoadError, StoreError};
use super::super::limits::{MAX_IMAGES, MAX_NAMES};
use super::super::reference::Reference;
use super::super::shorten::shorten;
use super::collect::Members;
use super::plan::{NamedLayer, Plan};

pub(super) const MANIFEST: &str = "manifest.json";

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Reads the images of an archive that has a `manifest.json`.
pub(super) fn images(members: &Members) -> Result<Vec<Plan>, StoreError> {
    let text = members.document(MANIFEST, MANIFEST)?;
    let entries: Vec<Entry> = serde_json::from_slice(&text)
        .map_err(|e| LoadError::Document { what: MANIFEST.to_owned(), reason: shorten(&e.to_string()) })?;
    if entries.is_empty() {
        return Err(LoadError::NoImages(MANIFEST).into());
    }
    if entries.len() > MAX_IMAGES {
        return Err(LoadError::too_many("the archive's images", MAX_IMAGES).into());
    }
    let names: usize = entries.iter().filter_map(|entry| entry.repo_tags.as_ref()).map(Vec::len).sum();
    if names > MAX_NAMES {
        let what = format!("the names that the archive gives its images, {names},");
        return Err(LoadError::too_many(what, MAX_NAMES).into());
    }
    entries.into_iter().enumerate().map(|(i, entry)| image(members, i + 1, entry)).collect()
}

fn image(members: &Members, number: usize, entry: Entry) -> Result<Plan, StoreError> {
    let tags = entry.repo_tags.unwrap_or_default();
    let label = match tags.first() {
        Some(tag) => format!("image {}", shorten(tag)),
        None => format!("image {number} of {MANIFEST}"),
    };
    let references = tags.iter().map(|tag| {
        let reference = tag.parse::<Reference>();
        reference.map_err(|cause| LoadError::Reference { what: format!("{label}, a name of it"), cause })
    });
    let references = references.collect::<Result<_, _>>()?;
    let layers = entry.layers.unwrap_or_default().into_iter();
    let layers: Vec<_> =
        layers.map(|member| NamedLayer { label: member.clone(), member, size: None }).collect();
    Plan::check(members, &label, &entry.config, &layers, references)
}
