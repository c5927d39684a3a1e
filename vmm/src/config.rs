//! The one configuration of a VM: JSON on an inherited descriptor, with every file the VM needs as a further
//! inherited descriptor. Unknown fields are refused. Nothing in it is a path: after start-up `moat-vmm` could not
//! open one.

use serde::{Deserialize, Serialize};

/// The number of an inherited file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fd(pub i32);

/// Everything that makes up one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// A name for logs and the thread names; no meaning beyond that.
    pub id: String,
    /// Number of virtual CPUs, from 1 to [`MAX_VCPUS`].
    pub vcpus: u8,
    /// Guest memory in MiB, at least [`MIN_MEMORY_MIB`].
    pub memory_mib: u32,
    /// An uncompressed x86-64 ELF `vmlinux`, open for reading.
    pub kernel: Fd,
    /// An uncompressed cpio archive, open for reading.
    pub initramfs: Fd,
    /// Words added to the kernel's command line after those that the VMM itself needs.
    pub command_line: String,
    /// The disks, in the order in which the guest sees them: `vda`, `vdb`, and so on.
    pub disks: Vec<DiskConfig>,
    /// The vsock device.
    pub vsock: VsockConfig,
    /// Whether to add a balloon with free page reporting.
    pub balloon: bool,
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

/// One virtio-blk disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiskConfig {
    /// File segments one behind the other, each padded with zeros to [`crate::SECTOR_SIZE`]; the guest cannot write.
    ReadOnly {
        /// In order; none may be empty.
        segments: Vec<SegmentConfig>,
    },
    /// One file of a whole number of sectors that the guest reads, writes, flushes and discards.
    ReadWrite {
        /// Open for reading and writing.
        file: Fd,
    },
}

/// A run of bytes of a file that is part of a read-only disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentConfig {
    /// Open for reading.
    pub file: Fd,
    /// Where the run starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; the file must have them all.
    pub length: u64,
}

/// The vsock device. Only the guest dials: for each connection that it opens to a port of the host (CID 2), the VMM
/// makes a pair of stream sockets and hands one end over on `dial`, as one message of four bytes (the port,
/// little-endian) with the descriptor attached. When the other end of `dial` closes, the VM stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockConfig {
    /// The guest's context id, 3 or more.
    pub guest_cid: u32,
    /// One end of a `SOCK_SEQPACKET` unix socket pair.
    pub dial: Fd,
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
