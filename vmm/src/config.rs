//! The one configuration of a VM: JSON on an inherited descriptor, with every file that the VM needs as a further
//! inherited descriptor. Unknown fields are refused. Nothing in it is a path: after start-up `moat-vmm` could not
//! open one. The configuration of each device lies in the device's folder; this module hands it on.

use serde::{Deserialize, Serialize};

pub use crate::devices::configs::*;
pub use crate::devices::{DeviceConfig, FIXED_VIRTIO_DEVICES};
pub use crate::fds::Fd;
pub use crate::virtio::block::{DiskLimits, SegmentConfig};
pub use crate::virtio::net::{MAX_QUEUE_PAIRS, MIN_MTU, NetworkCard, NetworkConfig};
pub use crate::virtio::rate::RateLimit;

/// Everything that makes up one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// A name for messages. It has no other meaning.
    pub id: String,
    /// Number of virtual CPUs, from 1 to [`MAX_VCPUS`].
    pub vcpus: u8,
    /// Guest memory in MiB, from [`MIN_MEMORY_MIB`] to [`MAX_MEMORY_MIB`].
    pub memory_mib: u32,
    /// What the memory is made of.
    #[serde(default)]
    pub memory: MemoryConfig,
    /// An uncompressed x86-64 ELF `vmlinux`, open for reading.
    pub kernel: Fd,
    /// An uncompressed cpio archive, open for reading.
    pub initramfs: Fd,
    /// Words added to the kernel's command line after those that the VMM itself needs.
    pub command_line: String,
    /// The devices, in the order in which the guest finds them.
    pub devices: Vec<DeviceConfig>,
    /// A pipe open for writing that receives [`crate::report::Report`] lines.
    pub report: Fd,
    /// One end of a `SOCK_SEQPACKET` unix socket pair for commands while the VM runs, see [`crate::control`].
    pub control: Option<Fd>,
    /// Where the guest's serial console goes, when there is to be one: open for writing.
    pub debug_console: Option<Fd>,
    /// What the process becomes before the guest runs.
    pub jail: JailConfig,
}

/// The most virtual CPUs a VM can have; what the guest kernel is built for.
pub const MAX_VCPUS: u8 = 64;

/// The least memory with which the guest kernel boots and leaves something for a process.
pub const MIN_MEMORY_MIB: u32 = 32;

/// The most memory that a VM can have, in MiB: 1 TiB.
pub const MAX_MEMORY_MIB: u32 = 1 << 20;

/// What guest memory is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MemoryConfig {
    /// Pages of the VMM's own, which start as zeros and end with the process.
    #[default]
    Anonymous,
    /// A file in memory (`memfd_create`) that has all of the guest's memory, from its first byte on, and is sealed against
    /// becoming shorter (`F_SEAL_SHRINK`). The balloon gives none of it back to the host.
    File {
        /// Open for reading; for writing, too, if it is shared.
        file: Fd,
        /// Whether what the guest writes goes into the file. Otherwise the VMM copies each page that the guest writes, and
        /// the file stays as it is.
        shared: bool,
    },
}

/// What the process becomes before the guest runs. The rest of the jail has no settings: new mount, network, IPC and
/// UTS namespaces, an empty root, no capabilities, `no_new_privs`, resource limits, seccomp per thread.
/// The PID namespace and the cgroup are joined at birth, see [`crate::launch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JailConfig {
    /// A user id of its own; never 0.
    pub uid: u32,
    /// A group id of its own; never 0.
    pub gid: u32,
}
