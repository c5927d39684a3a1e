//! Why the value of a flag is refused.

use moat_containers::config::{MAX_MEMORY_MIB, MAX_VCPUS, MIN_MEMORY_MIB};
use moat_containers::log;
use moat_network::mac::MacError;
use moat_network::port::PortError;
use thiserror::Error;

use super::limit::ULIMITS;
use super::log::IDLE;
use super::size::LEAST_MEMORY_MIB;

/// Why the value of a flag is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant is named by its message")]
pub enum FlagError {
    #[error("a size is a number and a unit: 512m, 2g")]
    Size,
    #[error("a size of at least one byte")]
    NoByte,
    #[error(
        "from {LEAST_MEMORY_MIB}m to {}g; a virtual machine has at least {MIN_MEMORY_MIB}m, which less stands for",
        MAX_MEMORY_MIB >> 10
    )]
    Memory,
    #[error("a period is 1000 to 1000000 microseconds")]
    CpuPeriod,
    #[error(
        "a quota is at least 1000 microseconds, for at least a hundredth of a processor and {MAX_VCPUS} at most"
    )]
    CpuQuota,
    #[error("a stream is STDIN, STDOUT or STDERR")]
    Stream,
    #[error(
        "every container is a machine of its own: its memory is shared with no other; there are private, shareable and none"
    )]
    Ipc,
    #[error(
        "'{0}' is not known: there are no-new-privileges, systempaths=unconfined, seccomp=unconfined, apparmor=unconfined \
         and label=disable; no profile of the host's kernel holds in a guest"
    )]
    SecurityOption(String),
    #[error("a number from 0.01 to {MAX_VCPUS}, such as 0.5 or 2")]
    Cpus,
    #[error("a number of processes, -1 for no limit")]
    PidsLimit,
    #[error("a limit is NAME=SOFT[:HARD], with a name of {}", ULIMITS.join(" "))]
    Ulimit,
    #[error("the soft limit is above the hard limit")]
    SoftAboveHard,
    #[error("a duration is numbers with units: 30s, 1m30s, 500ms")]
    Duration,
    #[error("it cannot be less than 1ms; 0s stands for the default")]
    ShortHealthDuration,
    #[error("a host name has letters, digits and dashes, at most 64 of them")]
    Hostname,
    #[error("an absolute path without '..', then options: /run:size=64m")]
    Tmpfs,
    #[error("a signal's name or number, such as TERM or 15")]
    Signal,
    #[error("a label is NAME or NAME=VALUE")]
    Label,
    #[error("a kernel parameter is NAME=VALUE")]
    Sysctl,
    #[error("a kernel parameter's name is like net.ipv4.ip_forward")]
    SysctlName,
    #[error("there is no capability {0}, see capabilities(7)")]
    Capability(String),
    #[error(
        "Moat keeps every container's log itself and has no driver '{0}'; json-file and local stand for that, and none for no log"
    )]
    LogDriver(String),
    #[error("a log option is NAME=VALUE: max-size=SIZE or max-file=NUMBER; {} have no effect", IDLE.join(", "))]
    LogOption,
    #[error(
        "'{0}' would keep output from the container's log or send it elsewhere; the log has max-size and max-file"
    )]
    UnknownLogOption(String),
    #[error("a log file has at least 64k")]
    SmallLogFile,
    #[error("a log has 1 to {} files", log::MAX_FILES)]
    LogFiles,
    #[error("a rate is bytes a second: a number with a unit, such as 512k or 10m")]
    ByteRate,
    #[error("a rate is requests a second: a number from 1")]
    OperationRate,
    #[error("a container has no disk {0}: its image is /dev/vda, and what it writes is on /dev/vdb")]
    Disk(String),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("one port")]
    OnePort,
    #[error(transparent)]
    Mac(#[from] MacError),
    #[error("a network has a name")]
    NoNetwork,
    #[error(
        "every container is a machine of its own and cannot have the host's network; publish its ports with -p, or \
         reach the host with --add-host NAME:host-gateway"
    )]
    HostNetwork,
    #[error(
        "every container is a machine of its own and cannot have another one's network; put both on one network \
         ('moat network create NAME') and they find each other by name"
    )]
    ContainerNetwork,
    #[error("invalid field '{0}': KEY=VALUE")]
    NetworkProperty(String),
    #[error("invalid {key} '{value}' in --network")]
    NetworkAddress { key: String, value: String },
    #[error("invalid field key '{0}': there are name, alias, ip, ip6, mac-address")]
    NetworkKey(String),
    #[error("one word without spaces")]
    Word,
    #[error("bad format for add-host: \"{0}\": NAME:ADDRESS")]
    ExtraHost(String),
    #[error("invalid IP address in add-host: \"{0}\"")]
    ExtraHostAddress(String),
    #[error("--network none does not go together with another network")]
    NoneAndAnother,
    #[error("--ip, --ip6, --mac-address and --network-alias need a network")]
    NeedsNetwork,
}
