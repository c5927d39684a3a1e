//! Images as `images` lists them.

mod glob;
mod select;

use jiff::Timestamp;
use moat_images::store::{Image, Reference};
use serde_json::{Value, json};

pub use self::select::{Ages, ImageFilterError, Selection};
use crate::human;

/// What Docker prints for a missing name or digest.
const NONE: &str = "<none>";

/// The default format.
pub fn default_format(quiet: bool, digests: bool) -> &'static str {
    match (quiet, digests) {
        (true, _) => "{{.ID}}",
        (_, false) => "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        (_, true) => "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    }
}

/// What `--format raw` stands for: a line for each field, and an empty line after each image.
pub fn raw_format(quiet: bool, digests: bool) -> &'static str {
    match (quiet, digests) {
        (true, _) => "image_id: {{.ID}}",
        (_, false) => {
            "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n\
             virtual_size: {{.Size}}\n"
        }
        (_, true) => {
            "repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\n\
             created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
        }
    }
}

/// An image with each of its names, or once without a name.
pub fn names(image: &Image) -> Vec<(&Image, Option<&Reference>)> {
    if image.references.is_empty() {
        return vec![(image, None)];
    }
    image.references.iter().map(|reference| (image, Some(reference))).collect()
}

/// A row under Docker's names, for one name of an image.
pub fn object(image: &Image, name: Option<&Reference>, id: &str, now: Timestamp) -> Value {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let created = image.created();
    let not_said = || "N/A".to_owned();
    json!({
        "Repository": or_none(name.map(Reference::familiar_name)),
        "Tag": or_none(name.and_then(Reference::tag).map(str::to_owned)),
        "Digest": or_none(name.and_then(|name| image.digest_in(name)).map(|digest| digest.to_string())),
        "ID": id,
        "CreatedSince": created.map_or_else(not_said, |created| human::ago(created, now)),
        "CreatedAt": created.map_or_else(not_said, |created| created.strftime("%F %T +0000 UTC").to_string()),
        "Size": human::size(image.size()),
        "VirtualSize": human::size(image.size()),
        // As with Docker, these are not computed for a list.
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
    })
}

/// The columns' names, one for each field of [`object`].
pub fn headers() -> Value {
    json!({
        "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT", "Size": "SIZE", "VirtualSize": "SIZE", "Containers": "CONTAINERS",
        "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
    })
}
