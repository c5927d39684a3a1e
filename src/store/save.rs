//! `save`: images as an archive that Docker and everyone who reads OCI layouts can load.
//!
//! ```text
//! oci-layout, index.json     for readers of OCI layouts
//! manifest.json              for Docker, whose names are those of the blobs
//! blobs/sha256/DIGEST        configs, manifests, layers without compression; each once
//! ```

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};

use moat_protocol::tar::{Entry, Kind, Writer};
use oci_spec::image::{ANNOTATION_REF_NAME, MediaType};
use serde_json::{Value, json};

use super::digest::Digest;
use super::error::StoreError;
use super::image::Image;
use super::layout::{LAYOUT_FILE, descriptor};
use super::reference::Reference;
use super::{Found, ImageStore, find};

/// The annotation in which containerd, and so Docker, keeps the full name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

impl ImageStore {
    /// Writes images to an archive. Those that are meant by a name have this name in it, those that are meant by an id
    /// none.
    ///
    /// # Errors
    /// When there is no such image, the store cannot be read, or `sink` does not take the archive.
    pub fn save(&self, wanted: &[String], sink: &mut dyn Write) -> Result<(), StoreError> {
        let images = self.list()?;
        let mut chosen: Vec<(&Image, Vec<Reference>)> = Vec::new();
        for name in wanted {
            let Found { image, reference } = find(&images, name)?;
            let image = &images[image];
            match chosen.iter_mut().find(|(known, _)| known.id == image.id) {
                Some((_, names)) => names.extend(reference),
                None => chosen.push((image, reference.into_iter().collect())),
            }
        }
        let mut archive = Archive { tar: Writer::new(io::BufWriter::new(sink)), written: HashSet::new() };
        archive.text(LAYOUT_FILE.0, LAYOUT_FILE.1.as_bytes())?;
        archive.directory("blobs/")?;
        archive.directory("blobs/sha256/")?;
        let (mut index, mut manifest) = (Vec::new(), Vec::new());
        for (image, names) in &chosen {
            let layers = image.layers.iter().map(|layer| layer.diff_id);
            for digest in layers.chain([image.id.0, image.manifest]) {
                archive.blob(self, &digest)?;
            }
            index.extend(self.descriptors(image, names)?);
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

    /// A line of the index for each of the names, or one without a name.
    fn descriptors(&self, image: &Image, names: &[Reference]) -> Result<Vec<Value>, StoreError> {
        let path = self.layout.blob(&image.manifest);
        let size = fs::metadata(&path).map_err(StoreError::io(&path))?.len();
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

    /// Writes a blob, unless it is there.
    fn blob(&mut self, store: &ImageStore, digest: &Digest) -> Result<(), StoreError> {
        if !self.written.insert(*digest) {
            return Ok(());
        }
        let path = store.layout.blob(digest);
        let mut file = fs::File::open(&path).map_err(StoreError::io(&path))?;
        let size = file.metadata().map_err(StoreError::io(&path))?.len();
        let entry = Entry { path: member(digest).into(), mode: 0o644, size, ..Entry::default() };
        self.tar.append(&entry, &mut (&mut file).take(size)).map_err(StoreError::Output)
    }
}

fn member(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
