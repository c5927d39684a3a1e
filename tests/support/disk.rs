//! A file system that is soon full.

use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A file system of 32 megabytes, until dropped.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// Mounts it in a new directory.
    pub fn mount(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).expect("a directory");
        mount(Some("none"), &at, Some("tmpfs"), MsFlags::empty(), Some("size=32m,mode=700"))
            .expect("a tmpfs");
        Self(at)
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("a UTF-8 path")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
