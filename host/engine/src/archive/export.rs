//! A container's whole file system as a tar, and where archives are written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use moat_protocol::ArchiveTask;

use super::copy::pass_on;
use super::{ArchiveError, Files};
use moat_containers::events;

/// Sends a container's file system, without what is mounted on it, to `sink`.
///
/// # Errors
/// When the container cannot be reached, the guest cannot read it, or `sink` does not take it.
pub(super) fn export(files: &mut Files<'_>, sink: &mut dyn Write) -> Result<(), ArchiveError> {
    let mut transfer = files.begin(ArchiveTask::Read { path: "/".to_owned(), follow: false })?;
    match pass_on(&mut transfer, sink) {
        Ok(()) => transfer.finish().map(drop)?,
        Err(e) => return Err(transfer.reason(e)),
    }
    events::emit(files.engine().root(), files.container(), "export", &[]);
    Ok(())
}

/// A file that is there only once it is complete; what had its name before stays until then.
pub struct Output {
    file: File,
    path: PathBuf,
    /// Where it is until then; nothing for a device or a pipe, which is written to as it is.
    temporary: Option<PathBuf>,
}

impl Output {
    /// Opens what is to be called `path`.
    ///
    /// # Errors
    /// When it cannot be made, or is a directory.
    pub fn create(path: &Path) -> Result<Self, ArchiveError> {
        let failed = ArchiveError::file(path);
        let special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let Some(name) = path.file_name().filter(|_| !special) else {
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Ok(Self { file, path: path.to_owned(), temporary: None });
        };
        let name = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
        let temporary = path.with_file_name(name);
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), temporary: Some(temporary) })
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// When that cannot be done; then nothing is left.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        fs::rename(temporary, &self.path).map_err(ArchiveError::file(&self.path))?;
        self.temporary = None;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.tar");
        fs::write(&path, "old").unwrap();
        let mut broken = Output::create(&path).unwrap();
        broken.write_all(b"half").unwrap();
        drop(broken);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(Output::create(directory.path()).is_err());
        Output::create(Path::new("/dev/null")).unwrap().finish().unwrap();
    }
}
