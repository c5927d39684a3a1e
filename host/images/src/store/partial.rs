//! Compressed layers on their way in: one file for each digest, which outlives the pull that began it.
//!
//! The pull that fetches a layer holds the lock on its file: another pull of the same layer waits and then finds the
//! bytes there. The next pull continues what an interrupted one left. A file whose digest was found right is made read-only and is
//! never written again, because other pulls, and in the end the store, have it under names of their own.
//!
//! Only the holder of its lock removes a file, and a lock counts only while the file has its name: a pull that waited for
//! the lock on a file that is gone by then begins with a new one.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::digest::Digest;
use super::error::StoreError;

/// The mode of a file whose digest is right.
const COMPLETE: u32 = 0o444;

/// How often it is looked whether another pull is done.
const PERIOD: Duration = Duration::from_millis(50);

/// How long another pull is waited for that fetches less than [`PROGRESS`]: its registry may be a slow one, or one that
/// means harm, and ours another.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What another pull must fetch within [`PATIENCE`] to be waited for longer, in bytes.
const PROGRESS: u64 = 1 << 20;

/// The locked file of one layer.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    lock: Flock<File>,
}

impl Partial {
    /// Opens and locks the file for `digest` in `directory`; nothing when another pull has it and gets on too slowly
    /// for our `patience`. `waiting` is told when one has it.
    pub(super) fn open(
        directory: &Path,
        digest: &Digest,
        patience: Duration,
        waiting: impl FnOnce(),
    ) -> Result<Option<Self>, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(StoreError::io(directory))?;
        let path = directory.join(digest.hex());
        let (mut waiting, mut progress) = (Some(waiting), None);
        loop {
            let file = match Self::open_file(&path) {
                // Root may open what is read-only, others may not for writing.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => File::open(&path),
                other => other,
            };
            let (length, complete) = match Self::lock(&path, file)? {
                Attempt::Locked(partial) => return Ok(Some(partial)),
                Attempt::Gone => continue,
                Attempt::Busy(state) => state,
            };
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            let (since, from) = *progress.get_or_insert_with(|| (Instant::now(), length));
            if since.elapsed() >= patience {
                // A pull that has all of it waits for no registry.
                if !complete && length.saturating_sub(from) < PROGRESS {
                    return Ok(None);
                }
                progress = None;
            }
            thread::sleep(PERIOD);
        }
    }

    /// The file at `path`, if there is one and its lock is free.
    pub(super) fn unused(path: &Path) -> Result<Option<Self>, StoreError> {
        match Self::lock(path, File::open(path))? {
            Attempt::Locked(partial) => Ok(Some(partial)),
            Attempt::Gone | Attempt::Busy(_) => Ok(None),
        }
    }

    fn open_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    /// Locks `file`, which was opened at `path`, without waiting.
    fn lock(path: &Path, file: io::Result<File>) -> Result<Attempt, StoreError> {
        let error = || StoreError::io(path);
        let file = match file {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Gone),
            other => other.map_err(error())?,
        };
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Ok(Attempt::Busy(state(&file.metadata().map_err(error())?)));
            }
            Err((_, e)) => return Err(error()(e.into())),
        };
        // Its last holder may have removed it.
        let ours = lock.metadata().map_err(error())?;
        if fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(Attempt::Locked(Self { path: path.to_owned(), lock }));
        }
        Ok(Attempt::Gone)
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
        Ok(state(&self.lock.metadata().map_err(StoreError::io(&self.path))?))
    }

    /// Says that the bytes have the right digest.
    pub(super) fn complete(&self) -> Result<(), StoreError> {
        self.lock.set_permissions(fs::Permissions::from_mode(COMPLETE)).map_err(StoreError::io(&self.path))
    }

    /// Forgets the bytes, before the lock is given back.
    pub(super) fn remove(self) -> Result<(), StoreError> {
        fs::remove_file(&self.path).map_err(StoreError::io(&self.path))
    }
}

/// What became of an attempt to lock a file.
enum Attempt {
    Locked(Partial),
    /// Another pull has it, in this state.
    Busy((u64, bool)),
    /// It has lost its name.
    Gone,
}

/// How many bytes are there, and whether these are all, with the right digest.
fn state(metadata: &Metadata) -> (u64, bool) {
    (metadata.len(), metadata.mode() & 0o777 == COMPLETE)
}

/// The files that no pull fetches now, each locked when its turn comes.
pub(super) fn abandoned(
    directory: &Path,
) -> Result<impl Iterator<Item = Result<Partial, StoreError>>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        other => Some(other.map_err(StoreError::io(directory))?),
    };
    let directory = directory.to_owned();
    Ok(entries.into_iter().flatten().filter_map(move |entry| match entry {
        Ok(entry) => Partial::unused(&entry.path()).transpose(),
        Err(e) => Some(Err(StoreError::io(&directory)(e))),
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn open(directory: &Path) -> Partial {
        Partial::open(directory, &Digest::of(b"layer"), PATIENCE, || ()).unwrap().unwrap()
    }

    #[test]
    fn a_file_has_its_name_while_it_is_locked() {
        let directory = tempfile::tempdir().unwrap();
        let (at, done) = (directory.path(), AtomicBool::new(false));
        thread::scope(|scope| {
            let pulls: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            let partial = open(at);
                            assert!(
                                fs::metadata(partial.path()).unwrap().ino()
                                    == partial.file().metadata().unwrap().ino()
                            );
                            partial.file().write_all(b"x").unwrap();
                            thread::yield_now();
                            assert!(partial.path().exists());
                            partial.remove().unwrap();
                        }
                    })
                })
                .collect();
            // A prune takes what no pull has, and nothing else.
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for partial in abandoned(at).unwrap() {
                        partial.unwrap().remove().unwrap();
                    }
                }
            });
            for pull in pulls {
                pull.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(at).unwrap().count(), 0);
    }

    #[test]
    fn who_gets_on_is_waited_for_and_who_does_not_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let (at, digest) = (directory.path(), Digest::of(b"layer"));
        let other = open(at);
        let patience = Duration::from_millis(200);
        let waited = AtomicBool::new(false);
        let wait = || Partial::open(at, &digest, patience, || waited.store(true, Ordering::Relaxed)).unwrap();
        assert!(wait().is_none() && waited.load(Ordering::Relaxed));
        assert!(Partial::unused(other.path()).unwrap().is_none());
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..8 {
                    other.file().write_all(&vec![0; usize::try_from(PROGRESS).unwrap()]).unwrap();
                    thread::sleep(Duration::from_millis(50));
                }
            });
            assert_eq!(wait().expect("it got on").state().unwrap(), (8 * PROGRESS, false));
        });
    }
}
