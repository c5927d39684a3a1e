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

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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
    /// When a directory cannot be created, or `path` is there and another user owns it or can write to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = Self(std::path::absolute(path)?);
        match std::fs::metadata(&root.0) {
            Ok(metadata) => check(&metadata)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
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

/// Whether no other user can put anything into a directory that is there. What lies in it is believed and run. Others may
/// look at it: what Moat makes inside is for its owner only.
fn check(metadata: &Metadata) -> io::Result<()> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let (owner, user) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if owner != user {
        return Err(io::Error::other(format!(
            "it belongs to user {owner}, and Moat runs as user {user}: choose another directory"
        )));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(io::Error::other(format!(
            "others can write to it (its mode is {:03o}): if what is in it is yours, give it mode 700 with `chmod 700`",
            metadata.mode() & 0o7777
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root");
        Root::open(&path).unwrap();
        for mode in [0o775, 0o770, 0o702, 0o1777] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Root::open(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 700"), "{error}");
        }
        for mode in [0o755, 0o700] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            Root::open(&path).unwrap();
        }
        fs::write(directory.path().join("file"), "").unwrap();
        let error = Root::open(&directory.path().join("file")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        // The kernel's own.
        let metadata = fs::metadata("/proc/sys").unwrap();
        if nix::unistd::geteuid().as_raw() == metadata.uid() {
            let directory = tempfile::tempdir().unwrap();
            std::os::unix::fs::chown(directory.path(), Some(4711), None).unwrap();
            let error = Root::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains("belongs to user 4711, and Moat runs as user 0"), "{error}");
        } else {
            let error = Root::open(Path::new("/proc/sys")).unwrap_err().to_string();
            assert!(error.contains("belongs to user 0"), "{error}");
        }
    }
}
