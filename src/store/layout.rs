//! The OCI image layout on disk: `oci-layout`, `index.json` and `blobs/sha256/`.
//!
//! `index.json` lists one manifest descriptor for each name of an image, with the full name in the annotation
//! `org.opencontainers.image.ref.name`, and one without annotations for an image that has no name. It is replaced whole
//! by a holder of the store's lock; a blob that it leads to is always there, because blobs come first and go last.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageIndexBuilder, MediaType, SCHEMA_VERSION,
};
use serde::de::DeserializeOwned;

use super::digest::Digest;
use super::error::StoreError;
use super::limits::MAX_DOCUMENT;
use super::reference::Reference;
use super::staging;
use crate::record::{self, RecordError};

/// The file that marks a directory as an OCI image layout, and what is in it.
pub(super) const LAYOUT_FILE: (&str, &str) = ("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}\n");

/// One line of `index.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The manifest's digest.
    pub manifest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The image's name, if it has one.
    pub reference: Option<Reference>,
    /// Where the image came from or went to.
    pub origin: Origin,
}

/// What ties an image of the store to registries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The manifest with which it was pulled or pushed. The store keeps that and all that it names, so that the
    /// image goes to another registry byte for byte.
    pub manifest: Option<Digest>,
    /// What this name meant when it was pulled or pushed: the digest of a manifest, or of an index that leads to it.
    pub digest: Option<Digest>,
}

/// The annotations in which `index.json` keeps [`Origin`].
const ORIGIN_MANIFEST: &str = "io.moat.origin.manifest";
const ORIGIN_DIGEST: &str = "io.moat.origin.digest";

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Layout(PathBuf);

impl Layout {
    /// The layout at `path`, which may not exist yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether everything that [`Layout::create`] makes is there.
    pub(super) fn exists(&self) -> bool {
        self.index_path().exists()
    }

    /// Makes what is missing. The caller holds the store's lock.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        let blobs = self.blobs();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&blobs).map_err(StoreError::io(&blobs))?;
        record::write_bytes(&self.0.join(LAYOUT_FILE.0), LAYOUT_FILE.1.as_bytes())?;
        // Last, because it is what `exists` looks at.
        if self.exists() { Ok(()) } else { self.write_index(&[]) }
    }

    fn index_path(&self) -> PathBuf {
        self.0.join("index.json")
    }

    fn blobs(&self) -> PathBuf {
        self.0.join("blobs/sha256")
    }

    /// Where the blob with this digest is, if it is there.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Opens a blob that must have `size` bytes.
    pub(super) fn open_blob(&self, digest: &Digest, size: u64) -> Result<File, StoreError> {
        let path = self.blob(digest);
        let file = File::open(&path).map_err(StoreError::io(&path))?;
        let length = file.metadata().map_err(StoreError::io(&path))?.len();
        if length != size {
            return Err(StoreError::Damaged {
                path,
                reason: format!("it has {length} bytes instead of {size}"),
            });
        }
        Ok(file)
    }

    /// Reads the JSON blob with this digest.
    pub(super) fn document<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T, StoreError> {
        let path = self.blob(digest);
        let mut text = Vec::new();
        let file = File::open(&path).map_err(StoreError::io(&path))?;
        file.take(MAX_DOCUMENT + 1).read_to_end(&mut text).map_err(StoreError::io(&path))?;
        if Digest::of(&text) != *digest {
            return Err(StoreError::Damaged { path, reason: "its digest is not its name".to_owned() });
        }
        serde_json::from_slice(&text).map_err(|e| StoreError::Damaged { path, reason: e.to_string() })
    }

    /// Whether the blob with this digest is there, with `size` bytes.
    pub(super) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob(digest)).is_ok_and(|metadata| metadata.len() == size)
    }

    /// Every blob that is there, with its size in bytes.
    pub(super) fn all_blobs(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.blobs()).map_err(StoreError::io(&self.blobs()))? {
            let entry = entry.map_err(StoreError::io(&self.blobs()))?;
            let digest = entry.file_name().to_str().and_then(|name| Digest::from_hex(name).ok());
            let (Some(digest), Ok(metadata)) = (digest, entry.metadata()) else { continue };
            all.push((digest, metadata.len()));
        }
        Ok(all)
    }

    /// Moves the file at `staged` in as the blob with this digest, unless it is there. The caller holds the
    /// store's lock.
    pub(super) fn adopt(&self, staged: &Path, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let path = self.blob(digest);
        // A blob that is there may be open in running VMs: it stays, so that all of them share its cached pages.
        if self.has_blob(digest, size) {
            return Ok(());
        }
        staging::sync(staged)?;
        fs::rename(staged, &path).map_err(StoreError::io(&path))
    }

    /// Makes adopted blobs last beyond a power cut.
    pub(super) fn sync_blobs(&self) -> Result<(), StoreError> {
        staging::sync(&self.blobs())
    }

    /// Removes every blob for which `keep` says no, and says which. The caller holds the store's lock.
    pub(super) fn retain_blobs(&self, keep: impl Fn(&Digest) -> bool) -> Result<Vec<Digest>, StoreError> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(self.blobs()).map_err(StoreError::io(&self.blobs()))? {
            let path = entry.map_err(StoreError::io(&self.blobs()))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            // What has another name is not ours.
            let Some(digest) = name.and_then(|name| Digest::from_hex(name).ok()) else { continue };
            if !keep(&digest) {
                fs::remove_file(&path).map_err(StoreError::io(&path))?;
                removed.push(digest);
            }
        }
        Ok(removed)
    }

    /// Removes what a killed writer of `index.json` left. The caller holds the store's lock.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        for entry in fs::read_dir(&self.0).map_err(StoreError::io(&self.0))? {
            let path = entry.map_err(StoreError::io(&self.0))?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path).map_err(StoreError::io(&path))?;
            }
        }
        Ok(())
    }

    /// Whether [`Layout::sweep`] has something to do.
    pub(super) fn needs_sweep(&self) -> bool {
        let mut entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.any(|entry| entry.path().extension().is_some_and(|extension| extension == "tmp"))
    }

    /// Reads `index.json`.
    pub(super) fn read_index(&self) -> Result<Vec<Entry>, StoreError> {
        let path = self.index_path();
        let index: ImageIndex = record::read(&path)?;
        let entries = index.manifests().iter().map(|descriptor| {
            let manifest: Digest = descriptor
                .digest()
                .as_ref()
                .parse()
                .map_err(|e| StoreError::Damaged { path: path.clone(), reason: format!("{e}") })?;
            let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key));
            let reference = annotation(ANNOTATION_REF_NAME).and_then(|name| name.parse().ok());
            let digest = |key: &str| annotation(key).and_then(|digest| digest.parse().ok());
            let origin = Origin { manifest: digest(ORIGIN_MANIFEST), digest: digest(ORIGIN_DIGEST) };
            Ok(Entry { manifest, size: descriptor.size(), reference, origin })
        });
        entries.collect()
    }

    /// Replaces `index.json`. The caller holds the store's lock.
    pub(super) fn write_index(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.replace_index(&self.encode_index(entries)?)
    }

    /// Puts `text`, from [`Layout::encode_index`], in the place of `index.json`. The caller holds the store's lock.
    pub(super) fn replace_index(&self, text: &[u8]) -> Result<(), StoreError> {
        Ok(record::write_bytes(&self.index_path(), text)?)
    }

    /// The bytes of an `index.json`, unless they would be too many to be read again.
    pub(super) fn encode_index(&self, entries: &[Entry]) -> Result<Vec<u8>, StoreError> {
        let manifests: Vec<Descriptor> = entries.iter().map(Entry::descriptor).collect();
        let path = self.index_path();
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(manifests)
            .build()
            .expect("every field that an index must have is set");
        record::encode(&path, &index).map_err(|e| match e {
            RecordError::TooLarge { path } => StoreError::IndexFull { path },
            e => e.into(),
        })
    }
}

impl Entry {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = descriptor(MediaType::ImageManifest, &self.manifest, self.size);
        let annotations = [
            (ANNOTATION_REF_NAME, self.reference.as_ref().map(Reference::to_string)),
            (ORIGIN_MANIFEST, self.origin.manifest.map(|digest| digest.to_string())),
            (ORIGIN_DIGEST, self.origin.digest.map(|digest| digest.to_string())),
        ];
        let annotations: HashMap<_, _> =
            annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        if !annotations.is_empty() {
            descriptor.set_annotations(Some(annotations));
        }
        descriptor
    }
}

/// A descriptor of the blob with this digest.
pub(super) fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Descriptor {
    let digest = digest.to_string().parse::<oci_spec::image::Digest>().expect("our digests are well-formed");
    Descriptor::new(media_type, size, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_keeps_names_and_nameless_images() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path().join("images"));
        assert!(!layout.exists());
        layout.create().unwrap();
        assert_eq!(layout.read_index().unwrap(), []);
        let entry = |name: Option<&str>| Entry {
            manifest: Digest::of(b"manifest"),
            size: 8,
            reference: name.map(|name| name.parse().unwrap()),
            origin: Origin { manifest: None, digest: name.map(|name| Digest::of(name.as_bytes())) },
        };
        let entries = [entry(Some("busybox")), entry(Some("localhost:5000/a/b:1")), entry(None)];
        layout.write_index(&entries).unwrap();
        layout.create().unwrap();
        assert_eq!(layout.read_index().unwrap(), entries);
    }

    #[test]
    fn a_blob_that_was_changed_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path().join("images"));
        layout.create().unwrap();
        let (good, bad) = (Digest::of(b"{}"), Digest::of(b"[]"));
        fs::write(layout.blob(&good), "{}").unwrap();
        fs::write(layout.blob(&bad), "{}").unwrap();
        layout.document::<serde_json::Value>(&good).unwrap();
        assert!(matches!(layout.document::<serde_json::Value>(&bad), Err(StoreError::Damaged { .. })));
        layout.open_blob(&good, 2).unwrap();
        assert!(matches!(layout.open_blob(&good, 3), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn what_a_killed_writer_left_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path().to_owned());
        layout.create().unwrap();
        assert!(!layout.needs_sweep());
        fs::write(directory.path().join("index.123.tmp"), "{").unwrap();
        assert!(layout.needs_sweep());
        layout.sweep().unwrap();
        assert!(!layout.needs_sweep());
        assert!(layout.exists());
    }
}
