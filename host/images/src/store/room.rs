//! Space: what is refused before the disk is full.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::ImageStore;
use super::error::StoreError;

/// What the store leaves free for what runs, in bytes; on a small disk a hundredth of it.
const RESERVE: u64 = 256 << 20;

/// After how many bytes of a file, at the latest, it is looked whether there is room for more.
const STEP: u64 = 64 << 20;

/// One in how many free bytes a file may take before it is looked again: others are written at the same time.
const SHARE: u64 = 8;

impl ImageStore {
    /// Refuses what would need `bytes` more than there is room for.
    pub(super) fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        check(self.root.path(), bytes).map(drop)
    }
}

/// The room for one file that grows.
#[derive(Debug)]
pub(super) struct Room {
    /// A directory of the file system that it is on.
    place: PathBuf,
    /// How many bytes may come before it is looked again.
    granted: u64,
}

impl Room {
    /// For a file in `place`, or below it.
    pub(super) fn at(place: &Path) -> Self {
        Self { place: place.to_owned(), granted: 0 }
    }

    /// Refuses `bytes` more if there is no room for them.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), StoreError> {
        if bytes > self.granted {
            let free = check(&self.place, bytes)?;
            self.granted = (free / SHARE).min(STEP).max(bytes);
        }
        self.granted -= bytes;
        Ok(())
    }
}

/// How many bytes may be used where `path` is, which must be as many as `bytes`.
fn check(path: &Path, bytes: u64) -> Result<u64, StoreError> {
    let figures = statvfs(path).map_err(|e| StoreError::io(path)(e.into()))?;
    let unit = figures.fragment_size();
    let available = unit.saturating_mul(figures.blocks_available());
    let reserve = RESERVE.min(unit.saturating_mul(figures.blocks()) / 100);
    match available.checked_sub(reserve) {
        Some(free) if free >= bytes => Ok(free),
        _ => Err(StoreError::NoRoom { path: path.to_owned(), bytes, available, reserve }),
    }
}
