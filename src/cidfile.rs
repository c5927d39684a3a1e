//! `--cidfile`: the file that a new container's id is written to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The file, if one is wanted. It is made before there is a container, so that a place where it cannot be leaves none
/// behind, and goes again when no id is written to it.
pub struct CidFile(Option<Begun>);

struct Begun {
    path: PathBuf,
    file: File,
    written: bool,
}

impl CidFile {
    /// Makes the file at `path`, if there is one.
    ///
    /// # Errors
    /// When it is there already, or cannot be made.
    pub fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        match File::create_new(path) {
            Ok(file) => Ok(Self(Some(Begun { path: path.to_owned(), file, written: false }))),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => bail!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ),
            Err(e) => {
                Err(e).with_context(|| format!("cannot create the container ID file {}", path.display()))
            }
        }
    }

    /// Writes the container's id to it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(self, id: &str) -> anyhow::Result<()> {
        let Some(mut begun) = self.0 else { return Ok(()) };
        let written = begun.file.write_all(id.as_bytes());
        written.with_context(|| format!("cannot write the container's id to {}", begun.path.display()))?;
        begun.written = true;
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.written {
            // If this fails too, the user must still hear of the first failure.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_new_and_stays_only_with_an_id() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        CidFile::create(None).unwrap().write("abc").unwrap();
        drop(CidFile::create(Some(&path)).unwrap());
        assert!(!path.exists(), "nothing was created");
        let file = CidFile::create(Some(&path)).unwrap();
        assert!(CidFile::create(Some(&path)).is_err_and(|e| e.to_string().contains("file found")));
        file.write("abc").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc");
        assert!(CidFile::create(Some(&path)).is_err(), "another container's");
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc");
        let nowhere = directory.path().join("none/id");
        let error = CidFile::create(Some(&nowhere)).err().unwrap();
        assert!(error.to_string().contains("cannot create the container ID file"), "{error}");
    }
}
