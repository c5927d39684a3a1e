//! How much of the host's disk a container takes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use moat_containers::Container;

use crate::Engine;

/// The unit in which stat(2) counts what a file takes.
const BLOCK: u64 = 512;

impl Engine {
    /// How many bytes a container has written to its disk: what the disk takes beyond an empty one.
    pub fn written(&self, container: &Container) -> u64 {
        taken(&container.directory.writable()).saturating_sub(taken(&self.root().template()))
    }
}

/// What a sparse file takes; nothing when there is none.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.blocks() * BLOCK)
}
