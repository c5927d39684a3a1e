//! The root directory: where everything Moat keeps lies.
//!
//! ```text
//! ROOT/                     default /var/lib/moat, `--root`, MOAT_ROOT
//!   images/                 the image store
//!   images.lock             held while the image store changes
//!   indexes/KEY.erofs       the index of each list of layers
//!   partial/DIGEST          a compressed layer that is being pulled
//!   staging/RANDOM/         an image's files on their way in
//!   template.ext4           an empty writable disk
//!   names/NAME              the id of the container of that name
//!   users/IMAGE/CONTAINER   that the container was made from the image
//!   containers/ID/          one container: its record, lock, writable disk and log
//!   networks/                networks, and who is on them
//!   containers.lock         held while a container's name is taken or an image is removed
//! ```

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where the root directory is when nothing else is said.
pub const DEFAULT_ROOT: &str = "/var/lib/moat";

/// The root directory. Only its owner can look inside.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// Takes `path` as the root directory and creates what is missing of its frame.
    ///
    /// # Errors
    /// When a directory cannot be created.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = Self(std::path::absolute(path)?);
        for directory in [
            root.0.clone(),
            root.images(),
            root.indexes(),
            root.containers(),
            root.names(),
            root.users(),
            root.networks(),
        ] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        Ok(root)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The indexes of images.
    pub fn indexes(&self) -> PathBuf {
        self.0.join("indexes")
    }

    /// The containers.
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// The containers' names.
    pub fn names(&self) -> PathBuf {
        self.0.join("names")
    }

    /// Which containers were made from which image.
    pub fn users(&self) -> PathBuf {
        self.0.join("users")
    }

    /// The networks.
    pub fn networks(&self) -> PathBuf {
        self.0.join("networks")
    }

    /// The empty writable disk.
    pub fn template(&self) -> PathBuf {
        self.0.join("template.ext4")
    }

    /// The lock on the set of containers.
    pub fn containers_lock(&self) -> PathBuf {
        self.0.join("containers.lock")
    }
}
