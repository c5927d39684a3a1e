//! Where the container is put together.

use std::path::PathBuf;

/// The image, read-only.
pub const IMAGE: &str = "/image";
/// The writable disk.
pub const LAYER: &str = "/layer";
/// The upper directory of the overlay, on the writable disk.
const UPPER: &str = "/layer/upper";
/// The overlay of the two: the container's root.
pub const ROOT: &str = "/root";
/// The files that are mounted over the container's /etc/hosts, /etc/hostname and /etc/resolv.conf.
pub const ETC: &str = "/etc";
/// The guest's devices.
pub const DEVICES: &str = "/dev";
/// The control groups.
pub const CGROUP: &str = "/cgroup";
/// The container's control group.
const CONTAINER_CGROUP: &str = "/cgroup/container";

/// The paths of one container. In a guest they are the constants above; they lie in the agent's own file system, a small
/// tmpfs that the container never sees.
pub struct Place {
    /// The container's root file system, a mount point.
    pub root: PathBuf,
    /// The image below it.
    pub image: PathBuf,
    /// What the container has changed: the upper directory of the overlay.
    pub upper: PathBuf,
    /// A directory for the files that are mounted over /etc/hosts, /etc/hostname and /etc/resolv.conf.
    pub etc: PathBuf,
    /// The guest's devices.
    pub devices: PathBuf,
    /// The container's control group, which the agent creates; its parent must be a cgroup2 mount.
    pub cgroup: PathBuf,
}

impl Place {
    /// The place in a guest.
    pub fn of_guest() -> Self {
        Self {
            root: ROOT.into(),
            image: IMAGE.into(),
            upper: UPPER.into(),
            etc: ETC.into(),
            devices: DEVICES.into(),
            cgroup: CONTAINER_CGROUP.into(),
        }
    }
}
