//! A container's configuration: written once when it is created.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::ContainerId;

/// The memory of a VM when nothing else is said, in MiB. The guest's kernel keeps about 1.6 % of it in tables, so a
/// larger default would cost every small container.
pub const DEFAULT_MEMORY_MIB: u32 = 512;

/// Everything that was decided when the container was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerConfig {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// The image as the user typed it.
    pub image: String,
    /// The image's id, `sha256:` and 64 digits.
    pub image_id: String,
    /// What runs in it.
    pub process: ProcessConfig,
    /// The host name.
    pub hostname: String,
    /// What it may use.
    pub resources: Resources,
    /// Whether the container sees its root file system read-only.
    pub read_only: bool,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
}

/// The container's first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// The entry point and its arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// The working directory inside the container, absolute.
    pub working_dir: String,
    /// `[user][:group]` as it was given, empty for root; the guest resolves it.
    pub user: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether its stdin is connected.
    pub open_stdin: bool,
}

/// What a container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// Processor time, in thousandths of one processor; unlimited when absent.
    pub milli_cpus: Option<NonZeroU32>,
}

impl Resources {
    /// How many virtual processors the VM has: as many as the limit on processor time can use, at least one.
    pub fn vcpus(&self) -> u8 {
        let wanted = self.milli_cpus.map_or(1, |limit| limit.get().div_ceil(1000));
        u8::try_from(wanted).unwrap_or(u8::MAX).clamp(1, moat_vmm::config::MAX_VCPUS)
    }
}

/// A file system in the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Where it is mounted, absolute.
    pub destination: String,
    /// Mount options as `mount -o` takes them, such as `size=64m` and `ro`.
    pub options: Vec<String>,
}
