//! What to start: containers and the processes that join them.

use std::collections::BTreeMap;

use oci_spec::runtime::{Mount, Process};
use serde::{Deserialize, Serialize};

use crate::network::NetworkSpec;

/// What to start, with the OCI types as the host writes them.
pub type ContainerSpec = ContainerSpecOf<Process, Mount>;

/// One more process, with the OCI types as the host writes them.
pub type ExecSpec = ExecSpecOf<Process>;

/// What to start: the parts of an OCI runtime specification that matter inside the guest.
///
/// `process.user` is ignored. A user's name can only be resolved against the container's own `/etc/passwd`, which the
/// host never reads, so it is sent as it was typed, in `user`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpecOf<P, M> {
    /// The UTS host name.
    pub hostname: String,
    /// `[user][:group]`, each a name or a number from 0 to 2^31-1; empty for root.
    pub user: String,
    /// Groups beside the user's, each a name or a number from 0 to 2^31-1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Arguments, environment, working directory, terminal and its size, rlimits, capabilities.
    pub process: P,
    /// Mounts in order; the file system types the agent knows are proc, sysfs, devpts, mqueue, cgroup2 and tmpfs.
    pub mounts: Vec<M>,
    /// Whether the container sees its root file system read-only.
    pub read_only_root: bool,
    /// Paths that are hidden from the container.
    pub masked_paths: Vec<String>,
    /// Paths that the container cannot write to.
    pub read_only_paths: Vec<String>,
    /// The container's /etc/hosts.
    pub hosts: Vec<HostsEntry>,
    /// Its interfaces, and its /etc/resolv.conf.
    pub network: NetworkSpec,
    /// Whether stdin is connected; without it the process reads end of file at once.
    pub open_stdin: bool,
    /// Kernel parameters by their dotted names, set before the process starts.
    pub sysctls: BTreeMap<String, String>,
    /// How many processes the container may have; without a number there is no limit.
    pub pids_limit: Option<u32>,
    /// Whether PID 1 is the agent's init, which reaps orphans and passes signals on to the process.
    pub init: bool,
    /// Whether every device of the guest is in the container's /dev.
    pub all_devices: bool,
}

/// One more process in a container that runs; its namespaces, mounts and limits are the container's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSpecOf<P> {
    /// As in [`ContainerSpecOf`].
    pub user: String,
    /// As in [`ContainerSpecOf`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// As in [`ContainerSpecOf`]; a working directory that does not exist is an error.
    pub process: P,
    /// Whether stdin is connected; without it the process reads end of file at once.
    pub open_stdin: bool,
    /// Whether its output is connected; without it the output is thrown away.
    pub open_output: bool,
}

/// A line of the container's /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostsEntry {
    /// The address.
    pub address: String,
    /// Its names.
    pub names: Vec<String>,
}
