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
    /// The network cards, in the order in which the guest sees them: `eth0`, `eth1`, and so on.
    pub networks: Vec<NetworkConfig>,
    /// How many cards can be added while the VM runs, see [`crate::control::Command::AttachNetwork`]. Each is a place
    /// where the booting guest finds a placeholder, and a parked thread.
    pub spare_networks: u8,
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
        /// How fast; those for writing mean nothing.
        #[serde(default)]
        limits: DiskLimits,
    },
    /// One file of a whole number of sectors that the guest reads, writes, flushes and discards.
    ReadWrite {
        /// Open for reading and writing.
        file: Fd,
        /// How fast.
        #[serde(default)]
        limits: DiskLimits,
    },
}

/// How fast a disk may be; what is not limited is as fast as it can be. A flush and a discard are write operations
/// without bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskLimits {
    /// Bytes read.
    pub read_bytes: Option<RateLimit>,
    /// Read requests.
    pub read_operations: Option<RateLimit>,
    /// Bytes written.
    pub write_bytes: Option<RateLimit>,
    /// Write requests.
    pub write_operations: Option<RateLimit>,
}

/// A token bucket: on the average `per_second` units, after a pause up to `burst` at once. The units, bytes or operations,
/// are those of the field that has the limit. One operation is never cut in two: what a large one takes too much is
/// waited for afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Units in a second, from 1.
    pub per_second: u64,
    /// Units that may be saved up, from 1.
    pub burst: u64,
}

/// One virtio-net card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The queues of one tap device, each opened for reading and writing and set up with `IFF_TAP`, `IFF_NO_PI` and
    /// `IFF_VNET_HDR`, and with `IFF_MULTI_QUEUE` if there is more than one: each is a pair of queues of the guest.
    /// From 1 to [`MAX_QUEUE_PAIRS`]; more than [`VmConfig::vcpus`] are of no use to a guest.
    pub taps: Vec<Fd>,
    /// What the guest sees of it.
    pub card: NetworkCard,
}

/// A network card as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCard {
    /// Its address. Nothing here keeps the guest from using another one: that is for the tap's side to do.
    pub mac: MacAddress,
    /// The most bytes of a packet without its Ethernet header, at least [`MIN_MTU`].
    pub mtu: u16,
    /// Bytes of frames for the guest. What is above waits in the tap's queue until that drops it.
    pub receive: Option<RateLimit>,
    /// Bytes of frames from the guest.
    pub send: Option<RateLimit>,
}

/// The most queue pairs of a network card, so the most descriptors that come with one.
pub const MAX_QUEUE_PAIRS: usize = 8;

/// The least MTU: what IPv4 asks of every link (RFC 791).
pub const MIN_MTU: u16 = 68;

/// An Ethernet address, written as in `02:42:ac:11:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// Why a text is no [`MacAddress`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no Ethernet address; it has to look like 02:42:ac:11:00:02")]
pub struct MacError(String);

impl std::str::FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let byte = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| MacError(text.to_owned()))
    }
}

impl std::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let mac = MacAddress([2, 0x42, 0xac, 0x11, 0, 0xfe]);
        assert_eq!(mac.to_string(), "02:42:ac:11:00:fe");
        assert_eq!(serde_json::from_str::<MacAddress>(r#""02:42:AC:11:00:fe""#).unwrap(), mac);
        for wrong in ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "2:42:ac:11:00:02", "02:42:ac:11:00:+2"] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong:?}");
        }
    }
}
