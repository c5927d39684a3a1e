//! Files on their way into the store.
//!
//! A staging directory belongs to one running operation, which holds a lock on it. An unlocked directory was
//! left by a process that is gone, and is removed. The lock needs no record of process ids and cannot go stale.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::StoreError;
use super::room::Room;

/// The piece of a file that is looked at for zeros, in bytes: the block size of every common file system.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A directory for the files of one operation. It is removed with everything in it when this is dropped.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    /// What it is in, which stays.
    parent: PathBuf,
    files: u64,
    is_abandoned: bool,
    /// Held for its drop.
    _lock: Flock<File>,
}

impl Staging {
    /// Makes a staging directory in `parent`. The caller holds the store's lock: [`sweep`] would otherwise remove the
    /// directory between its making and its locking.
    pub(super) fn create(parent: &Path) -> Result<Self, StoreError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| StoreError::io(parent)(io::Error::other(e)))?;
        let path = parent.join(format!("{:016x}", u64::from_ne_bytes(random)));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(StoreError::io(&path))?;
        let lock = try_lock(&path)?.ok_or_else(|| StoreError::io(&path)(Errno::EWOULDBLOCK.into()))?;
        Ok(Self { path, parent: parent.to_owned(), files: 0, is_abandoned: false, _lock: lock })
    }

    /// A new, empty file.
    pub(super) fn file(&mut self) -> Result<StagedFile, StoreError> {
        let path = self.path.join(self.files.to_string());
        self.files += 1;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
            .map_err(StoreError::io(&path))?;
        Ok(StagedFile { path, file, length: 0, room: Room::at(&self.parent) })
    }

    /// One more name for a file of the store, which lasts for as long as the operation. Nothing when there is no such
    /// file.
    pub(super) fn hold(&mut self, file: &Path) -> Result<Option<PathBuf>, StoreError> {
        let path = self.path.join(self.files.to_string());
        self.files += 1;
        match fs::hard_link(file, &path) {
            Ok(()) => Ok(Some(path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io(file)(e)),
        }
    }

    /// Leaves the directory behind, as a killed process does. The next command puts the store in order.
    pub(super) fn abandon(mut self) {
        self.is_abandoned = true;
    }

    /// A new file with this content.
    pub(super) fn file_with(&mut self, content: &[u8]) -> Result<PathBuf, StoreError> {
        let mut file = self.file()?;
        file.append(content)?;
        file.finish()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.is_abandoned {
            return;
        }
        // What cannot be removed now is removed by the next command's sweep.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what dead processes left in `parent`, and says whether there was something. The caller holds the store's lock.
pub(super) fn sweep(parent: &Path) -> Result<bool, StoreError> {
    let mut any = false;
    for entry in fs::read_dir(parent).map_err(StoreError::io(parent))? {
        let path = entry.map_err(StoreError::io(parent))?.path();
        let dead = match try_lock(&path) {
            Ok(lock) => lock.is_some(),
            // Its owner finished just now.
            Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(e),
        };
        if dead {
            any = true;
            tracing::info!(path = %path.display(), "removing what an interrupted command left");
            match fs::remove_dir_all(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(StoreError::io(&path)(e)),
                _ => {}
            }
        }
    }
    Ok(any)
}

fn try_lock(path: &Path) -> Result<Option<Flock<File>>, StoreError> {
    let directory = File::open(path).map_err(StoreError::io(path))?;
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(StoreError::io(path)(e.into())),
    }
}

/// A file that is written from front to back; its runs of zeros take no disk space.
#[derive(Debug)]
pub(super) struct StagedFile {
    path: PathBuf,
    file: File,
    length: u64,
    room: Room,
}

impl StagedFile {
    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were appended.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Appends `bytes`, if there is room, and says how many of them take disk space.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<u64, StoreError> {
        let mut stored = 0;
        while !bytes.is_empty() {
            let run = self.run_of_data(bytes);
            if run > 0 {
                self.room.take(run as u64)?;
                self.file.write_all_at(&bytes[..run], self.length).map_err(StoreError::io(&self.path))?;
                stored += run as u64;
            }
            // What follows the data is a piece of zeros, or nothing.
            let zeros = first_piece(self.length + run as u64, &bytes[run..]).len();
            self.length += (run + zeros) as u64;
            bytes = &bytes[run + zeros..];
        }
        Ok(stored)
    }

    /// How many of `bytes` come before the first piece that is all zeros.
    fn run_of_data(&self, bytes: &[u8]) -> usize {
        let mut run = 0;
        while run < bytes.len() {
            let piece = first_piece(self.length + run as u64, &bytes[run..]);
            if is_zero(piece) {
                break;
            }
            run += piece.len();
        }
        run
    }

    /// The empty file, to be written in another way.
    pub(super) fn into_file(self) -> (PathBuf, File) {
        (self.path, self.file)
    }

    /// Ends the file, zeros at its end included.
    pub(super) fn finish(self) -> Result<PathBuf, StoreError> {
        self.file.set_len(self.length).map_err(StoreError::io(&self.path))?;
        Ok(self.path)
    }
}

/// What of `bytes`, which go to `offset`, lies in the first block that they touch.
fn first_piece(offset: u64, bytes: &[u8]) -> &[u8] {
    let room = BLOCK - (offset % BLOCK as u64) as usize;
    &bytes[..room.min(bytes.len())]
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes == &ZEROS[..bytes.len()]
}

/// Makes the content of the file at `path` last beyond a power cut.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_data()).map_err(StoreError::io(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_living_stage_stays_and_what_the_dead_staged_goes() {
        let parent = tempfile::tempdir().unwrap();
        let mut living = Staging::create(parent.path()).unwrap();
        living.file_with(b"content").unwrap();
        let dead = parent.path().join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("0"), "content").unwrap();
        assert!(sweep(parent.path()).unwrap());
        assert!(!sweep(parent.path()).unwrap());
        assert!(living.path.join("0").exists());
        assert!(!dead.exists());
        drop(living);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn zeros_take_no_disk_space() {
        let parent = tempfile::tempdir().unwrap();
        let mut staging = Staging::create(parent.path()).unwrap();
        let mut file = staging.file().unwrap();
        let mut stored = 0;
        for _ in 0..64 {
            stored += file.append(&[0; 1 << 20]).unwrap();
        }
        stored += file.append(b"end").unwrap();
        stored += file.append(&[0; 5000]).unwrap();
        // The end of the block that "end" begins is zeros alone in a call of its own, and so not counted.
        assert_eq!(stored, 3);
        let metadata = fs::metadata(file.finish().unwrap()).unwrap();
        assert_eq!(metadata.len(), (64 << 20) + 5003);
        assert!(metadata.blocks() * 512 <= 64 << 10, "{} blocks", metadata.blocks());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn what_is_appended_is_what_is_read(
            runs in proptest::collection::vec((any::<bool>(), 1..9000_usize), 0..12),
            chunk in 1..10000_usize,
        ) {
            let content: Vec<u8> = runs.iter().flat_map(|&(zero, n)| vec![if zero { 0 } else { 7 }; n]).collect();
            let parent = tempfile::tempdir().unwrap();
            let mut staging = Staging::create(parent.path()).unwrap();
            let mut file = staging.file().unwrap();
            for piece in content.chunks(chunk) {
                prop_assert!(file.append(piece).unwrap() <= piece.len() as u64);
            }
            prop_assert_eq!(file.length(), content.len() as u64);
            prop_assert_eq!(fs::read(file.finish().unwrap()).unwrap(), content);
        }
    }
}
