//! The files that make a VM: the programs `moat-monitor` and `moat-vmm`, the guest's kernel and the initramfs with the
//! agent.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The environment variable that names the directory of the artifacts.
pub const LIBEXEC_VARIABLE: &str = "MOAT_LIBEXEC";

/// Where the artifacts are in an installed tree, relative to the directory of the `moat` program.
const RELATIVE: &str = "../libexec/moat";

/// The artifacts, which lie in one directory.
#[derive(Debug, Clone)]
pub struct Artifacts(PathBuf);

/// An artifact that is not there.
#[derive(Debug, Error)]
#[error("cannot open {}: {source}; install moat's libexec directory beside its bin directory or name it in {LIBEXEC_VARIABLE}", path.display())]
pub struct Missing {
    path: PathBuf,
    source: io::Error,
}

impl Artifacts {
    /// Finds the directory: `MOAT_LIBEXEC`, else `../libexec/moat` seen from the running program.
    ///
    /// # Errors
    /// When the path of the running program cannot be read.
    pub fn find() -> io::Result<Self> {
        if let Some(directory) = std::env::var_os(LIBEXEC_VARIABLE) {
            return Ok(Self(directory.into()));
        }
        let program = std::env::current_exe()?;
        let directory = program.parent().unwrap_or(Path::new("/")).join(RELATIVE);
        Ok(Self(directory.canonicalize().unwrap_or(directory)))
    }

    /// The artifacts in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// The monitor's program.
    pub fn monitor(&self) -> PathBuf {
        self.0.join("moat-monitor")
    }

    /// The virtual machine monitor's program.
    pub fn vmm(&self) -> PathBuf {
        self.0.join("moat-vmm")
    }

    /// The guest's kernel.
    pub fn kernel(&self) -> PathBuf {
        self.0.join("vmlinux")
    }

    /// The archive that holds the agent.
    pub fn initramfs(&self) -> PathBuf {
        self.0.join("initramfs.cpio")
    }

    /// Opens one of them.
    ///
    /// # Errors
    /// When it is missing or cannot be read.
    pub fn open(path: &Path) -> Result<File, Missing> {
        File::open(path).map_err(|source| Missing { path: path.to_owned(), source })
    }
}
