//! A process that joins a running container, between its birth and its execve.
//!
//! It is a fork of the agent that was born in the container's PID namespace and control group. It enters the other
//! namespaces of the container's first process; the root directory comes with the mount namespace. The container runs
//! meanwhile and can change every path, so all paths are resolved as in [`super::root`].

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use moat_protocol::guest::ExecSpec;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::stat::Mode;

use super::command::{self, Command, Streams};
use super::root::Root;
use super::{terminal, user};
use crate::failure::{Context, Failure};
use crate::process::{StatusWriter, Stdio};
use crate::sys;

/// The namespaces that are entered here. The network is the guest's, unless the container made a namespace of its own.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWCGROUP)
    .union(CloneFlags::CLONE_NEWNET);

/// Enters the container of the process `first` and becomes the command. A failure is reported to the agent.
pub fn run(spec: &ExecSpec, first: BorrowedFd<'_>, stdio: Stdio, status: StatusWriter) -> ! {
    let Err(failure) = try_run(spec, first, stdio, &status);
    // Reporting fails only when the agent is gone.
    let _ = status.failed(&failure);
    sys::process::exit_now(1)
}

fn try_run(
    spec: &ExecSpec,
    first: BorrowedFd<'_>,
    stdio: Stdio,
    status: &StatusWriter,
) -> Result<Infallible, Failure> {
    let process = &spec.process;
    let command = Command::new(process)?;
    // The container's processes see this one. They must not look into it while it still has the agent's memory.
    prctl::set_dumpable(false).context("cannot hide the agent's memory")?;
    command::detach(process, &stdio, status, Some(first))?;
    // The agent's null device: the container may have replaced its own.
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).ok();
    setns(first, NAMESPACES).context("cannot enter the container")?;
    let root = Root::open(Path::new("/")).context("cannot enter the container's root file system")?;
    let terminal = match process.terminal {
        true => Some(terminal::open(&root, process.console_size, status)?),
        false => None,
    };
    let cwd = working_directory(&root, &process.cwd)?;
    let identity =
        user::resolve(&root, &spec.user, &spec.groups).map_err(|error| Failure::setup(error.to_string()))?;
    command.become_it(Streams { stdio, terminal, null }, &cwd, &identity, false)
}

/// Opens the working directory, which has to be there.
fn working_directory(root: &Root, path: &str) -> Result<OwnedFd, Failure> {
    if !path.starts_with('/') {
        return Err(Failure::setup(format!(
            "the working directory must be an absolute path, not \"{path}\""
        )));
    }
    root.look_up(Path::new(path), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .context(&format!("cannot use \"{path}\" as working directory"))
}
