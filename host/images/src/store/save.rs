//! `save`: images as an archive that Docker and every reader of OCI layouts can load.
//!
//! ```text
//! oci-layout, index.json     for readers of OCI layouts
//! manifest.json              for Docker, whose names are those of the blobs
//! blobs/sha256/DIGEST        configs, manifests, layers without compression; each once
//! ```

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use moat_protocol::tar::{Entry, Kind, Writer};
use oci_spec::image::{ANNOTATION_REF_NAME, MediaType};
use serde_json::{Value, json};

use super::digest::Digest;
use super::error::StoreError;
use super::image::Image;
use super::layout::descriptor;
use super::reference::Reference;
use super::staging::Staging;
use super::{ImageStore, sorted};

/// The file that marks an OCI image layout, and what is in it.
const LAYOUT_FILE: (&str, &str) = ("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}\n");

/// The annotation in which containerd, and so Docker, keeps the full name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

impl ImageStore {
    /// Writes images to an archive. Those that are meant by a name have this name in it, those that are meant by an id
    /// or a digest none. A repository without a tag means all of its tags.
    ///
    /// # Errors
    /// When there is no such image, the store cannot be read, or `sink` does not take the archive.
    pub fn save(&self, wanted: &[String], sink: &mut dyn Write) -> Result<(), StoreError> {
        let chosen = self.choose(wanted)?;
        let mut archive = Archive { tar: Writer::new(io::BufWriter::new(sink)), written: HashSet::new() };
        archive.text(LAYOUT_FILE.0, LAYOUT_FILE.1.as_bytes())?;
        archive.directory("blobs/")?;
        archive.directory("blobs/sha256/")?;
        let (mut index, mut manifest) = (Vec::new(), Vec::new());
        for (image, names) in &chosen.images {
            for digest in blobs_of(image) {
                archive.blob(&digest, &chosen.blobs[&digest])?;
            }
            index.extend(descriptors(image, names, &chosen.blobs[&image.manifest])?);
            manifest.push(json!({
                "Config": member(&image.id.0),
                "RepoTags": names.iter().map(Reference::familiar).collect::<Vec<_>>(),
                "Layers": image.layers.iter().map(|layer| member(&layer.diff_id)).collect::<Vec<_>>(),
            }));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageIndex.to_string(),
            "manifests": index,
        });
        archive.text("index.json", index.to_string().as_bytes())?;
        archive.text("manifest.json", Value::Array(manifest).to_string().as_bytes())?;
        archive.tar.finish().map(drop).map_err(StoreError::Output)
    }

    /// Finds what is wanted, and holds it, so that it can be removed from the store while it is read.
    fn choose(&self, wanted: &[String]) -> Result<Chosen, StoreError> {
        let _lock = self.lock()?;
        let mut staging = Staging::create(&self.staging())?;
        let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
        for text in wanted {
            for (image, name) in self.meant(text)? {
                let at = images.iter().position(|(known, _)| known.id == image.id).unwrap_or_else(|| {
                    images.push((image, Vec::new()));
                    images.len() - 1
                });
                // As in Docker: a digest is no name to give an image.
                let names = &mut images[at].1;
                names.extend(name.filter(|name| name.digest().is_none() && !names.contains(name)));
            }
        }
        let mut blobs = HashMap::new();
        for digest in images.iter().flat_map(|(image, _)| blobs_of(image)) {
            let blob = self.layout.blob(&digest);
            let held = staging.hold(&blob)?;
            blobs.insert(digest, held.ok_or_else(|| StoreError::io(&blob)(io::ErrorKind::NotFound.into()))?);
        }
        Ok(Chosen { _staging: staging, images, blobs })
    }

    /// The images that `text` means, with the names that are meant.
    fn meant(&self, text: &str) -> Result<Vec<(Image, Option<Reference>)>, StoreError> {
        let mut ours = Vec::new();
        if let Some(repository) = Reference::of_repository(text) {
            let stored = self.in_repository(&repository)?;
            for image in sorted(stored.iter().filter_map(|stored| self.read_or_warn(stored)).collect()) {
                let names = image.references.iter().filter(|name| name.is_same_repository(&repository));
                ours.extend(names.map(|name| (image.clone(), Some(name.clone()))).collect::<Vec<_>>());
            }
        }
        if ours.is_empty() {
            let found = self.find(text)?;
            ours.push((Image::read(&self.layout, &found.stored)?, found.reference));
        }
        Ok(ours)
    }
}

/// What goes into an archive, and does not go away before this is dropped.
struct Chosen {
    _staging: Staging,
    /// The images, and the names that they are to have.
    images: Vec<(Image, Vec<Reference>)>,
    /// Where their blobs are.
    blobs: HashMap<Digest, PathBuf>,
}

/// What of an image goes into an archive.
fn blobs_of(image: &Image) -> impl Iterator<Item = Digest> {
    image.layers.iter().map(|layer| layer.diff_id).chain([image.id.0, image.manifest])
}

/// A line of the index for each of the names, or one without a name. The image's manifest is at `path`.
fn descriptors(image: &Image, names: &[Reference], path: &Path) -> Result<Vec<Value>, StoreError> {
    let size = fs::metadata(path).map_err(StoreError::io(path))?.len();
    let plain = serde_json::to_value(descriptor(MediaType::ImageManifest, &image.manifest, size))
        .expect("a descriptor is strings and numbers");
    if names.is_empty() {
        return Ok(vec![plain]);
    }
    let named = |name: &Reference| {
        let mut line = plain.clone();
        let full = name.to_string();
        line["annotations"] = json!({ANNOTATION_REF_NAME: full, CONTAINERD_NAME: full});
        line
    };
    Ok(names.iter().map(named).collect())
}

struct Archive<W> {
    tar: Writer<W>,
    written: HashSet<Digest>,
}

impl<W: Write> Archive<W> {
    fn text(&mut self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let entry = Entry { path: name.into(), mode: 0o644, size: content.len() as u64, ..Entry::default() };
        self.tar.append(&entry, &mut &*content).map_err(StoreError::Output)
    }

    fn directory(&mut self, name: &str) -> Result<(), StoreError> {
        let entry = Entry { kind: Kind::Directory, path: name.into(), mode: 0o755, ..Entry::default() };
        self.tar.append(&entry, &mut io::empty()).map_err(StoreError::Output)
    }

    /// Writes the blob at `path`, unless it is there.
    fn blob(&mut self, digest: &Digest, path: &Path) -> Result<(), StoreError> {
        if !self.written.insert(*digest) {
            return Ok(());
        }
        let mut file = fs::File::open(path).map_err(StoreError::io(path))?;
        let size = file.metadata().map_err(StoreError::io(path))?.len();
        let entry = Entry { path: member(digest).into(), mode: 0o644, size, ..Entry::default() };
        self.tar.append(&entry, &mut (&mut file).take(size)).map_err(StoreError::Output)
    }
}

fn member(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
