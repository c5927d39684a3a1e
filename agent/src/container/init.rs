//! The container's first process between its birth and its execve.
//!
//! It is a fork of the agent in new PID, mount, UTS and IPC namespaces. It changes the root before it mounts anything:
//! from then on no path of the image can lead to the agent's own file system. The rest is ordered by what each step
//! needs: mounts before the root becomes read-only, limits and look-ups as root, then the user, then the command as the
//! user sees it.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use moat_protocol::guest::ContainerSpec;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{pivot_root, sethostname};

use super::command::{self, Command, Streams, UMASK};
use super::root::{Root, Wanted};
use super::{devices, files, mounts, sysctls, terminal, user};
use crate::failure::{Context, Failure};
use crate::place::Place;
use crate::process::{StatusWriter, Stdio};
use crate::sys;
use crate::sys::mount::{attr, set_attributes};

/// Sets the container up and becomes its command. A failure is reported to the agent.
pub fn run(spec: &ContainerSpec, place: &Place, stdio: Stdio, status: StatusWriter) -> ! {
    let Err(failure) = try_run(spec, place, stdio, &status);
    // Reporting fails only when the agent is gone.
    let _ = status.failed(&failure);
    sys::process::exit_now(1)
}

fn try_run(
    spec: &ContainerSpec,
    place: &Place,
    stdio: Stdio,
    status: &StatusWriter,
) -> Result<Infallible, Failure> {
    let process = &spec.process;
    let command = Command::new(process)?;
    command::detach(process, &stdio, status, None)?;
    // Not at birth: then the namespace's root would be the agent's own control group.
    unshare(CloneFlags::CLONE_NEWCGROUP).context("cannot enter a cgroup namespace")?;
    let files = files::prepare(spec, &place.etc)?;
    let extra = if spec.all_devices {
        devices::list(&place.devices).context("cannot list the guest's devices")?
    } else {
        Vec::new()
    };
    sysctls::apply(&spec.sysctls)?;
    let root = enter_root(&place.root)?;
    let devices = mounts::mount_all(&root, &spec.mounts, &extra)?;
    files.mount(&root, spec.read_only_root)?;
    let terminal = match process.terminal {
        true => Some(terminal::open_console(&root, devices.as_ref(), process.console_size, status)?),
        false => None,
    };
    let cwd = working_directory(&root, &process.cwd)?;
    mounts::protect(&root, &spec.read_only_paths)?;
    mounts::mask(&root, &spec.masked_paths, devices.as_ref())?;
    sethostname(&spec.hostname).context("cannot set the host name")?;
    let identity =
        user::resolve(&root, &spec.user, &spec.groups).map_err(|error| Failure::setup(error.to_string()))?;
    if spec.read_only_root {
        let whole = root.look_up(Path::new("/"), OFlag::O_PATH).context("cannot open the root")?;
        set_attributes(whole.as_fd(), attr::RDONLY).context("cannot make the root read-only")?;
    }
    // The container's null device, so that it is the same file as its /dev/null.
    let null = devices.as_ref().and_then(|devices| devices.open_null().ok());
    command.become_it(Streams { stdio, terminal, null }, &cwd, &identity, spec.init)
}

/// Changes the root and unmounts the old one.
fn enter_root(new: &Path) -> Result<Root, Failure> {
    let what = "cannot enter the container's root file system";
    let none = None::<&str>;
    // Changes of mounts here must not reach the agent's.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context(what)?;
    nix::unistd::chdir(new).context(what)?;
    // The old root is stacked on the new one and then unmounted, so it needs no directory.
    pivot_root(".", ".").context(what)?;
    umount2(".", MntFlags::MNT_DETACH).context(what)?;
    nix::unistd::chdir("/").context(what)?;
    Root::open(Path::new("/")).context(what)
}

/// Opens the working directory. A missing one is created as Docker does it: owned by root, with mode 755.
fn working_directory(root: &Root, path: &str) -> Result<OwnedFd, Failure> {
    if !path.starts_with('/') {
        return Err(Failure::setup(format!(
            "the working directory must be an absolute path, not \"{path}\""
        )));
    }
    umask(Mode::from_bits_retain(UMASK));
    let found = root.ensure(Path::new(path), Wanted::Directory);
    umask(Mode::empty());
    found.context(&format!("cannot use \"{path}\" as working directory"))
}
