//! Compressed layers on their way in: one file for each digest, which outlives the pull that began it.
//!
//! Whoever fetches a layer holds the lock on its file: another pull of the same layer waits and then finds the bytes
//! there. What an interrupted pull left is gone on with. A file whose digest was found right is made read-only and is
//! never written again, because other pulls, and in the end the store, have it under names of their own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::digest::Digest;
use super::error::StoreError;

/// The mode of a file whose digest is right.
const COMPLETE: u32 = 0o444;

/// The locked file of one layer.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    lock: Flock<File>,
}

impl Partial {
    /// Opens and locks the file for `digest` in `directory`. `waiting` is told when another pull has it.
    pub(super) fn open(
        directory: &Path,
        digest: &Digest,
        waiting: impl FnOnce(),
    ) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(StoreError::io(directory))?;
        let path = directory.join(digest.hex());
        let mut waiting = Some(waiting);
        loop {
            let file = match Self::open_file(&path) {
                // Root may open what is read-only, others may not for writing.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
                other => other,
            };
            let file = file.map_err(StoreError::io(&path))?;
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((file, Errno::EWOULDBLOCK)) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    match Flock::lock(file, FlockArg::LockExclusive) {
                        Ok(lock) => lock,
                        Err((_, Errno::EINTR)) => continue,
                        Err((_, e)) => return Err(StoreError::io(&path)(e.into())),
                    }
                }
                Err((_, e)) => return Err(StoreError::io(&path)(e.into())),
            };
            // Whoever had it may have moved it into the store.
            let ours = lock.metadata().map_err(StoreError::io(&path))?;
            if fs::metadata(&path).is_ok_and(|there| there.ino() == ours.ino()) {
                return Ok(Self { path, lock });
            }
        }
    }

    fn open_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.lock
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes are there, and whether these are all, with the right digest.
    pub(super) fn state(&self) -> Result<(u64, bool), StoreError> {
        let metadata = self.lock.metadata().map_err(StoreError::io(&self.path))?;
        Ok((metadata.len(), metadata.mode() & 0o777 == COMPLETE))
    }

    /// Says that the bytes have the right digest.
    pub(super) fn complete(&self) -> Result<(), StoreError> {
        self.lock.set_permissions(fs::Permissions::from_mode(COMPLETE)).map_err(StoreError::io(&self.path))
    }

    /// Forgets the bytes.
    pub(super) fn remove(self) -> Result<(), StoreError> {
        fs::remove_file(&self.path).map_err(StoreError::io(&self.path))
    }
}

/// What nobody fetches now: path and size of each file.
pub(super) fn abandoned(directory: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io(directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io(directory))?.path();
        let Ok(file) = File::open(&path) else { continue };
        let size = file.metadata().map_err(StoreError::io(&path))?.len();
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            found.push((path, size));
        }
    }
    Ok(found)
}
