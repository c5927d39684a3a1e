//! Records on disk: JSON files that are replaced whole, and the locks that guard them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::format::{self, Record};
use crate::id::random_hex;
use crate::kind::ErrorKind;

/// The largest record that is read and, so that it can be read again, written, in bytes. Ours are far smaller.
pub const MAX_RECORD: u64 = 16 << 20;

/// What most records fit into, in bytes.
const USUAL_RECORD: usize = 8 << 10;

/// What can go wrong with a record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The file's content is not the record that was expected.
    #[error("{} is damaged: {source}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A newer release of Moat wrote it.
    #[error(
        "{} was written by a newer release of Moat (its format is {format}, and this release reads up to {known}): use \
         that release", path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u64,
        /// The newest format that this release reads.
        known: u32,
    },
    /// More than a record may have.
    #[error("{}: more than {MAX_RECORD} bytes, the most that a record may have", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
}

impl RecordError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => source.into(),
            Self::Damaged { .. } => ErrorKind::Host,
            Self::Newer { .. } => ErrorKind::Unsupported,
            Self::TooLarge { .. } => ErrorKind::Invalid,
        }
    }

    /// Whether the record does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads the record at `path`.
///
/// # Errors
/// When it cannot be read ([`RecordError::is_not_found`] tells whether it exists), is too large, is damaged, or was written
/// by a newer release.
pub fn read<T: Record>(path: &Path) -> Result<T, RecordError> {
    let text = read_bytes(path)?;
    serde_json::from_slice(&text).map_err(|source| match format::of(&text) {
        format if format > T::FORMAT.into() => {
            RecordError::Newer { path: path.to_owned(), format, known: T::FORMAT }
        }
        _ => RecordError::Damaged { path: path.to_owned(), source },
    })
}

/// Reads a JSON document whose format is not Moat's to choose.
///
/// # Errors
/// When it cannot be read, is too large or is damaged.
pub fn read_document<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let text = read_bytes(path)?;
    serde_json::from_slice(&text).map_err(|source| RecordError::Damaged { path: path.to_owned(), source })
}

/// The bytes of a record.
fn read_bytes(path: &Path) -> Result<Vec<u8>, RecordError> {
    let file = File::open(path).map_err(RecordError::io(path))?;
    // Room for the whole of most records: without it, a small buffer grows through a dozen reads.
    let mut text = Vec::with_capacity(USUAL_RECORD);
    file.take(MAX_RECORD + 1).read_to_end(&mut text).map_err(RecordError::io(path))?;
    check_length(path, &text)?;
    Ok(text)
}

/// Replaces the record at `path`: its readers see the old one or the new one, also after a crash.
///
/// # Errors
/// When it cannot be written, or could not be read again; the old record is then still there.
pub fn write<T: Record>(path: &Path, record: &T) -> Result<(), RecordError> {
    write_bytes(path, &encode(path, record)?)
}

/// Like [`write`], for a JSON document that says its format in a way of its own, or none.
///
/// # Errors
/// As [`write`].
pub fn write_document<T: Serialize>(path: &Path, document: &T) -> Result<(), RecordError> {
    write_bytes(path, &encode(path, document)?)
}

/// The bytes that [`write`] would put at `path`.
///
/// # Errors
/// When they could not be read again.
pub fn encode<T: Serialize>(path: &Path, record: &T) -> Result<Vec<u8>, RecordError> {
    let text = serde_json::to_vec_pretty(record)
        .map_err(|source| RecordError::Damaged { path: path.to_owned(), source })?;
    check_length(path, &text)?;
    Ok(text)
}

fn check_length(path: &Path, text: &[u8]) -> Result<(), RecordError> {
    if text.len() as u64 > MAX_RECORD {
        return Err(RecordError::TooLarge { path: path.to_owned() });
    }
    Ok(())
}

/// Like [`write`], for a file that is not JSON.
///
/// # Errors
/// When it cannot be written; the old file is then still there.
pub fn write_bytes(path: &Path, content: &[u8]) -> Result<(), RecordError> {
    let temporary = temporary(path)?;
    let written = (|| {
        // In a directory that others can write to as well, a file of this name is theirs.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&temporary, path)?;
        // The rename itself is durable only once the directory is.
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_data()
    })();
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        RecordError::io(path)(e)
    })
}

/// A name beside `path` that no record has and that cannot be guessed: records' names do not start with a dot.
fn temporary(path: &Path) -> Result<PathBuf, RecordError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = random_hex(8).map_err(|e| RecordError::io(path)(e.into()))?;
    Ok(path.with_file_name(format!(".{name}.{random}.tmp")))
}

/// Whether a file of this name is a record that was not finished.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// An exclusive lock on a file, held until every copy of its descriptor is closed: by dropping it, or by the end of
/// the processes that have one, however they end.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Waits for the lock on `path`, creating the file if need be.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn wait(path: &Path) -> Result<Self, RecordError> {
        let file = Self::open(path)?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(Self(file)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(RecordError::io(path)(e)),
            }
        }
    }

    /// Takes the lock on `path` if it is free.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn attempt(path: &Path) -> Result<Option<Self>, RecordError> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(RecordError::io(path)(e)),
        }
    }

    /// Takes over a lock that another process held and passed on.
    pub fn inherited(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// The descriptor that holds the lock; the lock lasts until the last copy of it is closed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn open(path: &Path) -> Result<File, RecordError> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(RecordError::io(path))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::format::Format;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        #[serde(default)]
        format: Format<2>,
        text: String,
    }

    impl Record for Note {
        const FORMAT: u32 = 2;
    }

    fn note(length: u64) -> Note {
        Note { text: "x".repeat(usize::try_from(length).unwrap()), ..Note::default() }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let frame = encode(&path, &note(0)).unwrap().len() as u64;
        let longest = note(MAX_RECORD - frame);
        write(&path, &longest).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), MAX_RECORD);
        assert_eq!(read::<Note>(&path).unwrap(), longest);
        let error = write(&path, &note(MAX_RECORD - frame + 1)).unwrap_err();
        assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
        assert_eq!(read::<Note>(&path).unwrap(), longest);
        fs::write(&path, "x".repeat(usize::try_from(MAX_RECORD).unwrap() + 1)).unwrap();
        let error = read::<Note>(&path).unwrap_err();
        assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn no_file_that_is_there_is_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        // A name is used once, and each is another.
        assert_ne!(temporary(&path).unwrap(), temporary(&path).unwrap());
        let name = temporary(&path).unwrap().file_name().unwrap().to_string_lossy().into_owned();
        assert!(is_temporary(&name) && name.len() == ".record..tmp".len() + 16, "{name}");
        write(&path, &note(1)).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn older_formats_are_read_and_newer_ones_are_refused_as_newer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        for text in [r#"{"text": "a"}"#, r#"{"format": 1, "text": "a"}"#, r#"{"format": 2, "text": "a"}"#] {
            fs::write(&path, text).unwrap();
            assert_eq!(read::<Note>(&path).unwrap().text, "a", "{text}");
        }
        for text in [
            r#"{"format": 3, "text": "a"}"#,
            r#"{"text": "a", "more": [{}], "format": 3}"#,
            r#"{"format": 99999999999, "other": 1}"#,
        ] {
            fs::write(&path, text).unwrap();
            let error = read::<Note>(&path).unwrap_err();
            assert!(matches!(error, RecordError::Newer { known: 2, .. }), "{error}");
            assert!(error.to_string().contains("newer release"), "{error}");
        }
        for text in
            ["", "{", "[]", r#"{"format": 2}"#, r#"{"format": 0, "text": "a"}"#, r#"{"text": "a", "x": 1}"#]
        {
            fs::write(&path, text).unwrap();
            let error = read::<Note>(&path).unwrap_err();
            assert!(matches!(error, RecordError::Damaged { .. }), "{text}: {error}");
        }
    }
}
