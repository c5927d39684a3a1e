//! How the guest reads the OCI types of a [`HostMessage`](crate::HostMessage).
//!
//! The host writes `process` and `mounts` with the types of `oci-spec`. Reading them with the same types would link a
//! regular expression engine and validators for every other runtime into the agent: 1.6 MB of code in the memory of
//! every guest. The types here read the same JSON and know exactly the fields that the agent honours. A field that the
//! agent would have to ignore, such as an AppArmor profile, is refused: a container must not seem confined by what is
//! not there.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::message::HostMessageOf;
use crate::spec::{ContainerSpecOf, ExecSpecOf};

/// A [`HostMessage`](crate::HostMessage) as the agent reads it.
pub type HostMessage = HostMessageOf<ContainerSpec, Process>;

/// A [`ContainerSpec`](crate::ContainerSpec) as the agent reads it.
pub type ContainerSpec = ContainerSpecOf<Process, Mount>;

/// An [`ExecSpec`](crate::ExecSpec) as the agent reads it.
pub type ExecSpec = ExecSpecOf<Process>;

/// The part of an OCI `process` that the agent honours.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// The terminal's first size.
    #[serde(default)]
    pub console_size: Option<ConsoleSize>,
    /// OCI requires the field. The user is in [`ContainerSpecOf::user`] instead.
    #[serde(rename = "user", deserialize_with = "ignore")]
    pub ignored_user: (),
    /// The command and its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The whole environment, `NAME=VALUE` each.
    #[serde(default)]
    pub env: Vec<String>,
    /// The working directory, absolute.
    pub cwd: String,
    /// The capability sets; without them the process has none.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Resource limits.
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    /// Whether execve(2) may not raise privileges.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// How readily the kernel kills it when memory runs out, -1000 to 1000.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
}

/// A terminal's size in characters, as OCI writes it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSize {
    /// Rows.
    #[serde(default)]
    pub height: u64,
    /// Columns.
    #[serde(default)]
    pub width: u64,
}

/// Capability sets, by name (`CAP_CHOWN`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// What execve(2) can ever give.
    #[serde(default)]
    pub bounding: Vec<String>,
    /// What root starts with.
    #[serde(default)]
    pub effective: Vec<String>,
    /// What execve(2) passes on to files that ask for it.
    #[serde(default)]
    pub inheritable: Vec<String>,
    /// What root can make effective.
    #[serde(default)]
    pub permitted: Vec<String>,
    /// What survives execve(2) without root.
    #[serde(default)]
    pub ambient: Vec<String>,
}

/// A resource limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rlimit {
    /// Its name, such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The hard limit.
    #[serde(default)]
    pub hard: u64,
    /// The soft limit.
    #[serde(default)]
    pub soft: u64,
}

/// An OCI mount.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where, an absolute path in the container.
    pub destination: String,
    /// The file system.
    #[serde(rename = "type")]
    pub kind: String,
    /// A name for /proc/mounts; none of the file systems has a source.
    #[serde(default)]
    pub source: Option<String>,
    /// Options as `mount -o` takes them.
    #[serde(default)]
    pub options: Vec<String>,
}

fn ignore<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| ())
}
