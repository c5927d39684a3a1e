//! A container's configuration: written when it is created; `rename` and `update` change it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::Timestamp;
use moat_records::format::{Format, Record};
pub use moat_vmm::config::{DiskLimits, MAX_MEMORY_MIB, MAX_VCPUS, MIN_MEMORY_MIB, RateLimit};
use serde::{Deserialize, Serialize};

use super::health::HealthCheck;
use super::restart::RestartPolicy;
use moat_network::request::{Member, NetworkRequest};
use moat_records::id::ContainerId;

/// The memory of a VM when nothing else is said, in MiB. The guest's kernel keeps about 1.6 % of it in tables, so a
/// larger default would cost every small container.
pub const DEFAULT_MEMORY_MIB: u32 = 512;

/// The size of /dev/shm when nothing else is said, in bytes, Docker's.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// How long `stop` waits before it kills when nothing else is said, in seconds, Docker's.
pub const DEFAULT_STOP_TIMEOUT: i64 = 10;

/// Everything that was decided when the container was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerConfig {
    /// The format of this record.
    #[serde(default)]
    pub format: Format<1>,
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
    /// The domain that its host name is in; empty for none.
    #[serde(default)]
    pub domainname: String,
    /// Groups of its processes beside their user's, each a name or a number.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Words about it for who runs it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Whether it has no /dev/shm.
    #[serde(default)]
    pub no_shm: bool,
    /// Whether its output is kept nowhere.
    #[serde(default)]
    pub no_log: bool,
    /// What it may use.
    pub resources: Resources,
    /// How fast its disks and network may be.
    #[serde(default)]
    pub rates: Rates,
    /// Whether the container sees its root file system read-only.
    pub read_only: bool,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// Free words about it.
    pub labels: BTreeMap<String, String>,
    /// When it starts again by itself.
    pub restart: RestartPolicy,
    /// What tells whether it is well.
    pub health: Option<HealthCheck>,
    /// How its log is bounded.
    pub log: LogLimits,
    /// What its processes may do.
    pub security: Security,
    /// Kernel parameters by their dotted names.
    pub sysctls: BTreeMap<String, String>,
    /// The size of /dev/shm in bytes.
    pub shm_size: u64,
    /// Whether PID 1 is an init that reaps orphans and passes signals on.
    pub init: bool,
    /// What it asks of networks.
    #[serde(default)]
    pub network: NetworkRequest,
    /// Ports that the image says it serves, such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Directories that the image says hold data.
    pub volumes: Vec<String>,
}

impl Record for ContainerConfig {
    const FORMAT: u32 = 1;
}

impl ContainerConfig {
    /// The host name with the domain that it is in.
    pub fn full_hostname(&self) -> String {
        let dot = if self.domainname.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.hostname, self.domainname)
    }

    /// The container as networks know it.
    pub fn member(&self) -> Member<'_> {
        Member {
            id: &self.id,
            name: &self.name,
            hostname: &self.hostname,
            exposed_ports: &self.exposed_ports,
            request: &self.network,
        }
    }
}

/// The container's first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// The entry point and its arguments; never empty.
    pub args: Vec<String>,
    /// How many of `args` are the entry point; the others are the command.
    pub entrypoint: usize,
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
    /// Whether its stdin ends with the first client that was connected to it.
    pub stdin_once: bool,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// How long it may take to end before it is killed, in seconds; negative for as long as it likes.
    pub stop_timeout: i64,
    /// Limits of its own.
    pub ulimits: Vec<Ulimit>,
}

/// A limit on what one process may use, as setrlimit(2) has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// Its name in small letters, such as `nofile`.
    pub name: String,
    /// The soft limit; `u64::MAX` is no limit.
    pub soft: u64,
    /// The hard limit; `u64::MAX` is no limit.
    pub hard: u64,
}

/// How a container's log is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLimits {
    /// How large a file grows before a new one is begun, in bytes.
    pub max_size: u64,
    /// How many files are kept, at least one.
    pub max_files: usize,
}

/// What a container's processes may do inside their virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Everything that root of the guest can do.
    pub privileged: bool,
    /// Capabilities beyond Docker's, by name without `CAP_`; `ALL` for all.
    pub cap_add: Vec<String>,
    /// Capabilities that are taken away, by name without `CAP_`; `ALL` for all.
    pub cap_drop: Vec<String>,
    /// Whether `execve` may raise privileges.
    pub no_new_privileges: bool,
    /// Whether no path of /proc and /sys is hidden from it or read-only.
    #[serde(default)]
    pub unmasked: bool,
}

/// What a container may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// Processor time, in thousandths of one processor; unlimited when absent.
    pub milli_cpus: Option<NonZeroU32>,
    /// How many processes it may have; unlimited when absent.
    pub pids_limit: Option<NonZeroU32>,
}

impl Resources {
    /// How many virtual processors the VM has: as many as the limit on processor time can use, at least one.
    pub fn vcpus(&self) -> u8 {
        let wanted = self.milli_cpus.map_or(1, |limit| limit.get().div_ceil(1000));
        u8::try_from(wanted).unwrap_or(u8::MAX).clamp(1, MAX_VCPUS)
    }
}

/// How fast a container's disks and network may be; what is not limited is as fast as it can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// The disk with the image.
    pub image: DiskLimits,
    /// The disk with what it writes.
    pub writable: DiskLimits,
    /// Bytes that each network card may send, and receive.
    pub network: Option<RateLimit>,
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
