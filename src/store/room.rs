//! Space: what is refused before the disk is full.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::ImageStore;
use super::error::StoreError;

/// What the store leaves free for what runs, in bytes; on a small disk a hundredth of it.
const RESERVE: u64 = 256 << 20;

impl ImageStore {
    /// Refuses what would need `bytes` more than there is room for.
    pub(super) fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        check(self.root.path(), bytes)
    }
}

/// The same, for the file system that `path` is on.
pub(super) fn check(path: &Path, bytes: u64) -> Result<(), StoreError> {
    let figures = statvfs(path).map_err(|e| StoreError::io(path)(e.into()))?;
    let unit = figures.fragment_size();
    let available = unit.saturating_mul(figures.blocks_available());
    let reserve = RESERVE.min(unit.saturating_mul(figures.blocks()) / 100);
    if bytes.saturating_add(reserve) > available {
        return Err(StoreError::NoRoom { path: path.to_owned(), bytes, available, reserve });
    }
    Ok(())
}
