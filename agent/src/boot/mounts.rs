//! The agent's own file systems.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsRawFd, IntoRawFd};

use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, chroot};

use super::place;

/// The directories in the agent's root, all mount points but `ETC`.
const DIRECTORIES: [&str; 7] =
    ["/proc", "/dev", place::CGROUP, place::IMAGE, place::LAYER, place::ROOT, place::ETC];

/// Controllers that the container's cgroup has: runtimes read their limits there, and `memory` counts OOM kills.
const CONTROLLERS: &str = "+cpu +cpuset +io +memory +pids";

/// Mounts the agent's root, /proc, /dev and the control groups, and gives the process its standard descriptors.
///
/// # Errors
/// In words.
pub fn mount_own() -> Result<(), String> {
    own_root()?;
    let common = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_at("proc", "/proc", common | MsFlags::MS_NODEV, None)?;
    mount_at("devtmpfs", "/dev", common, None)?;
    // The boundary of a cgroup namespace is a boundary: a container cannot raise its own limits.
    mount_at("cgroup2", place::CGROUP, common | MsFlags::MS_NODEV, Some("nsdelegate"))?;
    let control = format!("{}/cgroup.subtree_control", place::CGROUP);
    fs::write(&control, CONTROLLERS)
        .map_err(|error| format!("cannot write \"{CONTROLLERS}\" to {control}: {error}"))?;
    standard_descriptors().map_err(|error| format!("cannot open /dev/null: {error}"))
}

/// Replaces the initial file system by a tmpfs: pivot_root(2), which is how the container gets its root, refuses to
/// work on the initial one.
fn own_root() -> Result<(), String> {
    let failed = |what: &'static str| move |error: nix::Error| format!("cannot {what}: {error}");
    let new = "/moat";
    fs::create_dir(new).map_err(|error| format!("cannot create {new}: {error}"))?;
    // It holds mount points and three small files that the container can write to: a megabyte is plenty.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at("tmpfs", new, flags, Some("size=1m,nr_inodes=64,mode=0755"))?;
    for directory in DIRECTORIES {
        fs::create_dir(format!("{new}{directory}"))
            .map_err(|error| format!("cannot create {directory}: {error}"))?;
    }
    chdir(new).map_err(failed("enter the new root"))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(failed("move the new root"))?;
    chroot(".").map_err(failed("change into the new root"))
}

fn mount_at(kind: &str, target: &str, flags: MsFlags, options: Option<&str>) -> Result<(), String> {
    mount(Some(kind), target, Some(kind), flags, options)
        .map_err(|error| format!("cannot mount {kind} at {target}: {error}"))
}

/// Without a console the kernel starts PID 1 with no open files. Descriptors 0 to 2 are filled, or the first three
/// that the agent opens would end up there.
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
