//! What a monitor is started with: one JSON document on a descriptor, and further descriptors with fixed numbers.

use std::os::fd::RawFd;
use std::path::PathBuf;

use moat_records::id::ContainerId;
use serde::{Deserialize, Serialize};

/// The descriptor that the configuration is read from, to its end.
pub const CONFIG_FD: RawFd = 3;
/// The descriptor that holds the container's lock.
pub const LOCK_FD: RawFd = 4;
/// The descriptor of the socket that clients connect to.
pub const LISTENER_FD: RawFd = 5;
/// The descriptor of the first client's connection.
pub const CLIENT_FD: RawFd = 6;

/// The largest configuration, in bytes: an image has at most some hundred layers.
pub const MAX_CONFIG: u64 = 1 << 20;

/// What a monitor is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Run the container's process.
    Run,
    /// Look into the container's files without its process, for as long as a client wants to.
    Look,
}

/// What a monitor is started with. Both ends come from one build, so unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorConfig {
    /// The root directory.
    pub root: PathBuf,
    /// The container.
    pub id: ContainerId,
    /// What the monitor is there for.
    pub purpose: Purpose,
    /// The directory of the programs and of the guest's kernel.
    pub artifacts: PathBuf,
    /// The files of the image's disk, one behind the other.
    pub image: Vec<ImageFile>,
    /// Whether the guest's console goes to stderr.
    pub debug_console: bool,
}

/// One file of an image's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFile {
    /// Where it lies in the image store.
    pub path: PathBuf,
    /// How long it is, in bytes.
    pub length: u64,
}
