//! Which containers were made from an image: `users/IMAGE/CONTAINER`, an empty file for each container.
//!
//! Removing an image asks which containers need it, and no other image's containers are read for that. The file is made
//! before the container's record and removed after it. What a crash leaves is at most a file too many, which the next
//! reader compares with the record and removes.
//!
//! `users/format.json` says that every container has its file. Where it is missing, an earlier release may have made
//! containers, and the first reader makes their files.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use moat_records::failpoint;
use moat_records::format::{Format, Record};
use moat_records::id::{ContainerId, is_id};
use moat_records::record::{self, Lock};
use moat_records::root::Root;
use serde::{Deserialize, Serialize};

use crate::config::ContainerConfig;
use crate::directory::gone;
use crate::{ContainerError, Containers, Directory};

/// The record `users/format.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsersRecord {
    /// The format of this record and of the directory.
    #[serde(default)]
    pub format: Format<1>,
}

impl Record for UsersRecord {
    const FORMAT: u32 = 1;
}

/// A container that was made from an image, or is being made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: ContainerId,
    /// When it was created; none while it is being made.
    pub created: Option<Timestamp>,
    /// Whether it cannot do without the image now: it is being made, or it runs, is paused or restarts.
    pub is_live: bool,
}

/// Notes that container `id` is made from the image `image_id` (`sha256:` and 64 digits), and makes that last. The container
/// has no record yet, and the caller holds the lock on the set of containers.
///
/// # Errors
/// When the file cannot be made.
pub fn add(root: &Root, image_id: &str, id: &ContainerId) -> Result<(), ContainerError> {
    let Some(directory) = directory_of(root, image_id) else { return Ok(()) };
    let is_new = write(&directory, id).map_err(cannot_note())?;
    sync(&directory).map_err(cannot_note())?;
    if is_new { sync(&root.users()).map_err(cannot_note()) } else { Ok(()) }
}

/// Notes that container `id`, whose record is gone, does not need the image `image_id` any more.
///
/// # Errors
/// When the file cannot be removed.
pub fn remove(root: &Root, image_id: &str, id: &ContainerId) -> Result<(), ContainerError> {
    let Some(directory) = directory_of(root, image_id) else { return Ok(()) };
    gone(fs::remove_file(directory.join(id.as_str()))).map_err(cannot_note())?;
    remove_if_empty(&directory)
}

impl Containers {
    /// The containers that were made from image `image_id`, the newest first. The caller holds the set of containers.
    ///
    /// # Errors
    /// When the record of one of them cannot be read.
    pub fn users_of(&self, image_id: &str) -> Result<Vec<User>, ContainerError> {
        let mut users = self.users(image_id)?.collect::<Result<Vec<User>, _>>()?;
        users.sort_by_key(|user| Reverse(user.created.unwrap_or(Timestamp::MAX)));
        Ok(users)
    }

    /// Whether a container was made from image `image_id`. The caller holds the set of containers.
    ///
    /// # Errors
    /// When the record of one of them cannot be read.
    pub fn has_users(&self, image_id: &str) -> Result<bool, ContainerError> {
        Ok(self.users(image_id)?.next().transpose()?.is_some())
    }

    /// Each container that was made from image `image_id`, read when its turn comes.
    fn users(
        &self,
        image_id: &str,
    ) -> Result<impl Iterator<Item = Result<User, ContainerError>>, ContainerError> {
        self.note_earlier_users()?;
        let mut ids = Vec::new();
        if let Some(directory) = directory_of(self.root(), image_id) {
            ids = ids_in(&directory)?;
            // A crash may have left one without files.
            remove_if_empty(&directory)?;
        }
        Ok(ids.into_iter().filter_map(move |id| self.user(image_id, id).transpose()))
    }

    /// Container `id` as a user of the image, which its file says that it is. A file that is not true is removed.
    fn user(&self, image_id: &str, id: ContainerId) -> Result<Option<User>, ContainerError> {
        let user = match self.load(&id)? {
            Some(container) if container.config.image_id == image_id => Some(User {
                created: Some(container.config.created),
                is_live: container.state.status.is_live(),
                id: container.config.id,
            }),
            Some(_) => None,
            None => self.is_busy(&id)?.then(|| User { id: id.clone(), created: None, is_live: true }),
        };
        if user.is_none() {
            remove(self.root(), image_id, &id)?;
        }
        Ok(user)
    }

    /// Whether a process is making or removing container `id`, which has no record.
    fn is_busy(&self, id: &ContainerId) -> Result<bool, ContainerError> {
        match Lock::attempt(&Directory::of(self.root(), id).lock()) {
            Ok(lock) => Ok(lock.is_none()),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the files of the containers of an earlier release, once.
    fn note_earlier_users(&self) -> Result<(), ContainerError> {
        let format = self.root().users().join("format.json");
        match record::read::<UsersRecord>(&format) {
            Err(e) if e.is_not_found() => {}
            other => return Ok(other.map(drop)?),
        }
        remove_unfinished(&self.root().users());
        let (mut directories, mut is_complete) = (BTreeSet::from([self.root().users()]), true);
        for id in self.ids()? {
            match record::read::<ContainerConfig>(&Directory::of(self.root(), &id).config()) {
                Ok(config) => {
                    let Some(directory) = directory_of(self.root(), &config.image_id) else { continue };
                    write(&directory, &id).map_err(cannot_note())?;
                    directories.insert(directory);
                    failpoint::hit("users.one-noted");
                }
                // An earlier release may be making it, and does not make its file: the next reader looks again.
                Err(e) if e.is_not_found() => is_complete &= !self.is_busy(&id)?,
                Err(e) => return Err(e.into()),
            }
        }
        directories.iter().try_for_each(|directory| sync(directory)).map_err(cannot_note())?;
        failpoint::hit("users.all-noted");
        if is_complete { Ok(record::write(&format, &UsersRecord::default())?) } else { Ok(()) }
    }
}

/// Where the containers of an image are noted; none for what is no image's id and so has none.
fn directory_of(root: &Root, image_id: &str) -> Option<PathBuf> {
    let digits = image_id.strip_prefix("sha256:").filter(|digits| is_id(digits))?;
    Some(root.users().join(digits))
}

/// The containers that are noted in `directory`; none when it does not exist.
fn ids_in(directory: &Path) -> Result<Vec<ContainerId>, ContainerError> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(ContainerError::host("list the containers of the image"))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(ContainerError::host("list the containers of the image"))?.file_name();
        ids.extend(name.to_str().and_then(|name| name.parse::<ContainerId>().ok()));
    }
    Ok(ids)
}

/// Removes the records whose writers were killed. What stays is in no reader's way.
fn remove_unfinished(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(record::is_temporary) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes the file of container `id`, and says whether `directory` is new.
fn write(directory: &Path, id: &ContainerId) -> io::Result<bool> {
    loop {
        let is_new = match DirBuilder::new().mode(0o700).create(directory) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            other => other.map(|()| true)?,
        };
        match File::create(directory.join(id.as_str())) {
            // The removal of another container took the empty directory away.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(|_| is_new),
        }
    }
}

fn remove_if_empty(directory: &Path) -> Result<(), ContainerError> {
    match fs::remove_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => gone(other).map_err(cannot_note()),
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_data()
}

fn cannot_note() -> impl FnOnce(io::Error) -> ContainerError {
    ContainerError::host("note which image the container uses")
}
