//! The directory `images/`: where its parts are, and the blobs, which are kept under their digests.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, MediaType};
use serde::de::DeserializeOwned;

use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::limits::MAX_DOCUMENT;
use super::staging;

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Layout(PathBuf);

impl Layout {
    /// The layout at `path`, which may not exist yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The record of the store's format. Earlier versions of Moat kept everything in the file of this name.
    pub(super) fn format(&self) -> PathBuf {
        self.0.join("index.json")
    }

    /// The names.
    pub(super) fn names(&self) -> PathBuf {
        self.0.join("names")
    }

    /// The images that are kept without a name.
    pub(super) fn nameless(&self) -> PathBuf {
        self.0.join("nameless")
    }

    /// The records of images.
    pub(super) fn images(&self) -> PathBuf {
        self.0.join("ids")
    }

    /// Where the record of an image is.
    pub(super) fn record(&self, id: &ImageId) -> PathBuf {
        self.images().join(id.0.hex())
    }

    /// Which image uses which file.
    pub(super) fn uses(&self) -> PathBuf {
        self.0.join("uses")
    }

    /// The change of several names that is being made.
    pub(super) fn change(&self) -> PathBuf {
        self.0.join("change")
    }

    fn blobs(&self) -> PathBuf {
        self.0.join("blobs/sha256")
    }

    /// Makes the directories that are missing. The caller holds the store's lock.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        for directory in [self.blobs(), self.names(), self.nameless(), self.images(), self.uses()] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(StoreError::io(&directory))?;
        }
        Ok(())
    }

    /// Where the blob with this digest is, if it is there.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Where a blob is that must have `size` bytes.
    pub(super) fn find_blob(&self, digest: &Digest, size: u64) -> Result<PathBuf, StoreError> {
        let path = self.blob(digest);
        let length = fs::metadata(&path).map_err(StoreError::io(&path))?.len();
        if length == size { Ok(path) } else { Err(wrong_length(path, length, size)) }
    }

    /// Opens a blob that must have `size` bytes.
    pub(super) fn open_blob(&self, digest: &Digest, size: u64) -> Result<File, StoreError> {
        let path = self.blob(digest);
        let file = File::open(&path).map_err(StoreError::io(&path))?;
        let length = file.metadata().map_err(StoreError::io(&path))?.len();
        if length == size { Ok(file) } else { Err(wrong_length(path, length, size)) }
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

    /// Every blob that is there, with its size in bytes. Files with other names are not the store's.
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

    /// Removes a blob and says whether it was there. The caller holds the store's lock.
    pub(super) fn remove_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        remove_file(&self.blob(digest))
    }

    /// Removes what a killed writer of a record left. The caller holds the store's lock.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        for directory in [self.0.clone(), self.images()] {
            for entry in fs::read_dir(&directory).map_err(StoreError::io(&directory))? {
                let path = entry.map_err(StoreError::io(&directory))?.path();
                if is_unfinished(&path) {
                    fs::remove_file(&path).map_err(StoreError::io(&path))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a command was killed while it changed the store, or changes it now.
    pub(super) fn is_unfinished(&self) -> bool {
        let mut entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.any(|entry| is_unfinished(&entry.path())) || self.change().exists()
    }
}

fn wrong_length(path: PathBuf, length: u64, size: u64) -> StoreError {
    StoreError::Damaged { path, reason: format!("it has {length} bytes instead of {size}") }
}

/// Whether this is a record whose writer was killed.
fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// Removes a file, and says whether there was one.
pub(super) fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io(path)(e)),
    }
}

/// Removes a directory that has nothing in it.
pub(super) fn remove_if_empty(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir(path) {
        Err(e)
            if !matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty) =>
        {
            Err(StoreError::io(path)(e))
        }
        _ => Ok(()),
    }
}

/// The names in a directory; none when there is no such directory. A name that is not UTF-8 is not the store's.
pub(super) fn names_in(path: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io(path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(StoreError::io(path))?.file_name().into_string().ok());
    }
    Ok(names)
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
        assert_eq!(layout.find_blob(&good, 2).unwrap(), layout.blob(&good));
        assert!(matches!(layout.find_blob(&good, 3), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn what_a_killed_writer_left_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path().to_owned());
        layout.create().unwrap();
        assert!(!layout.is_unfinished());
        fs::write(directory.path().join("index.123.tmp"), "{").unwrap();
        assert!(layout.is_unfinished());
        layout.sweep().unwrap();
        assert!(!layout.is_unfinished());
    }
}
