//! The directory of one container.
//!
//! ```text
//! containers/ID/
//!   lock            held by the process that creates, runs or removes the container: liveness is this lock
//!   config.json     written last when created and removed first: without it the directory is a remnant
//!   state.json
//!   writable.ext4   the writable disk
//!   monitor.sock    where its monitor listens
//!   log, log.1 ...  its output
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use moat_records::id::ContainerId;
use moat_records::root::Root;

/// The directory of one container.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory of container `id`, whether it exists or not.
    pub fn of(root: &Root, id: &ContainerId) -> Self {
        Self(root.containers().join(id.as_str()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The writable disk.
    pub fn writable(&self) -> PathBuf {
        self.0.join("writable.ext4")
    }

    /// The lock.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// The state.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Removes the configuration: from here on it is a remnant.
    ///
    /// # Errors
    /// When it cannot be removed; it can be tried again.
    pub fn remove_config(&self) -> io::Result<()> {
        gone(fs::remove_file(self.config()))
    }

    /// Removes everything in it and itself, the configuration first: what an interruption leaves is a remnant.
    ///
    /// # Errors
    /// When something cannot be removed; it can be tried again.
    pub fn remove(&self) -> io::Result<()> {
        self.remove_config()?;
        gone(fs::remove_dir_all(&self.0))
    }
}

/// What is gone already was removed.
pub(crate) fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
