//! The agent's own file systems.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsRawFd, IntoRawFd};

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

use super::error::MountError;
use crate::place;

/// The directories in the agent's root, all mount points but `ETC`.
const DIRECTORIES: [&str; 7] =
    ["/proc", "/dev", place::CGROUP, place::IMAGE, place::LAYER, place::ROOT, place::ETC];

/// Controllers that the container's cgroup has: runtimes read their limits there, and `memory` counts OOM kills.
const CONTROLLERS: &str = "+cpu +cpuset +io +memory +pids";

/// Mounts the agent's root, /proc, /dev and the control groups, and gives the process its standard descriptors.
///
/// # Errors
/// When one of them cannot be mounted.
pub fn mount_own() -> Result<(), MountError> {
    own_root()?;
    let common = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_at("proc", "/proc", common | MsFlags::MS_NODEV, None)?;
    mount_at("devtmpfs", "/dev", common, None)?;
    // With `nsdelegate` a container cannot raise the limits of its own control group.
    mount_at("cgroup2", place::CGROUP, common | MsFlags::MS_NODEV, Some("nsdelegate"))?;
    let path = format!("{}/cgroup.subtree_control", place::CGROUP);
    fs::write(&path, CONTROLLERS).map_err(|cause| MountError::Controllers {
        value: CONTROLLERS,
        path,
        cause,
    })?;
    standard_descriptors().map_err(MountError::Null)
}

/// Replaces the initial file system by a tmpfs: pivot_root(2), which is how the container gets its root, refuses to
/// work on the initial one.
fn own_root() -> Result<(), MountError> {
    let failed = |step| move |cause| MountError::Root { step, cause };
    let create = |path: &str, shown: &str| {
        fs::create_dir(path).map_err(|cause| MountError::Create { path: shown.into(), cause })
    };
    let new = "/moat";
    create(new, new)?;
    // It holds mount points and a few small files that the container can write to: a megabyte is plenty.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at("tmpfs", new, flags, Some("size=1m,nr_inodes=64,mode=0755"))?;
    for directory in DIRECTORIES {
        create(&format!("{new}{directory}"), directory)?;
    }
    chdir(new).map_err(failed("enter the new root"))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(failed("move the new root"))?;
    chroot(".").map_err(failed("change into the new root"))
}

fn mount_at(
    kind: &'static str,
    target: &'static str,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), MountError> {
    mount(Some(kind), target, Some(kind), flags, options).map_err(|cause| MountError::Mount {
        kind,
        target,
        cause,
    })
}

/// Opens /dev/null as descriptors 0 to 2. Without a console the kernel starts PID 1 with no open files, and the first
/// three that the agent opens would get these numbers.
fn standard_descriptors() -> std::io::Result<()> {
    loop {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        if null.as_raw_fd() > 2 {
            return Ok(());
        }
        // It stays open for as long as the guest lives.
        let _ = null.into_raw_fd();
    }
}
