//! `info`: what there is, and where it runs.

use std::path::PathBuf;

use moat_containers::state::Status;
use moat_monitor::artifacts::Artifacts;
use nix::sys::sysinfo::sysinfo;
use nix::sys::utsname::uname;

use crate::{Engine, EngineError};

/// What there is, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The states of all containers.
    pub containers: Vec<Status>,
    /// Images.
    pub images: usize,
    /// The root directory.
    pub root: PathBuf,
    /// The kernel of guests, if it is installed.
    pub guest_kernel: Option<PathBuf>,
    /// The host.
    pub host: HostInfo,
}

/// What the host says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// Its name.
    pub name: String,
    /// The version of its kernel.
    pub kernel: String,
    /// Its distribution, as os-release(5) has it.
    pub system: String,
    /// The version of its distribution, as os-release(5) has it; empty for one that has none.
    pub system_version: String,
    /// How many processors it has for Moat.
    pub processors: usize,
    /// Its memory in bytes.
    pub memory: u64,
}

impl Engine {
    /// Counts what there is and asks the host about itself.
    ///
    /// # Errors
    /// When a record or the store cannot be read, or the kernel does not answer.
    pub fn info(&self) -> Result<Info, EngineError> {
        Ok(Info {
            containers: self.list()?.iter().map(|container| container.state.status).collect(),
            images: self.store().list()?.len(),
            root: self.root().path().to_owned(),
            guest_kernel: Artifacts::find().ok().map(|found| found.kernel()),
            host: HostInfo::ask()?,
        })
    }
}

impl HostInfo {
    fn ask() -> Result<Self, EngineError> {
        let host = uname().map_err(|e| EngineError::host("ask the kernel who it is")(e.into()))?;
        let memory = sysinfo().map_err(|e| EngineError::host("ask the kernel for its memory")(e.into()))?;
        let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Ok(Self {
            name: host.nodename().to_string_lossy().into_owned(),
            kernel: host.release().to_string_lossy().into_owned(),
            system: os_release(&system, "PRETTY_NAME").unwrap_or("unknown").to_owned(),
            system_version: os_release(&system, "VERSION_ID").unwrap_or_default().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.ram_total(),
        })
    }
}

/// A value of os-release(5).
fn os_release<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']))
}
