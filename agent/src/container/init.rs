//! The container's first process between its birth and its execve.
//!
//! It is a fork of the agent in new PID, mount, UTS and IPC namespaces. The root is changed before anything is
//! mounted: from then on no path, however the image bends it, can lead to the agent's own file system. The order of
//! the rest follows from who may do what: mounts before the root becomes read-only, limits and look-ups as root,
//! then the user, then the command as the user sees it.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use moat_protocol::guest::ContainerSpec;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchdir, fchown, getcwd, pivot_root, setgroups,
    sethostname, setresgid, setresuid, setsid,
};

use super::capabilities::Sets;
use super::devices::Devices;
use super::exec::{self, c_strings, variable};
use super::failure::Context;
use super::root::{Root, Wanted};
use super::status::StatusWriter;
use super::user::{self, Identity};
use super::{Failure, Stdio, files, limits, mounts, terminal};
use crate::serve::Place;
use crate::sys;
use crate::sys::mount::{attr, set_attributes};

/// The files that a process starts with are open to everyone, without write permission for others.
const UMASK: u32 = 0o022;

/// Sets the container up and becomes its command; what goes wrong is reported.
pub fn run(spec: &ContainerSpec, place: &Place, stdio: Stdio, status: StatusWriter) -> ! {
    let Err(failure) = try_run(spec, place, stdio, &status);
    // When the agent is gone there is nobody to tell.
    let _ = status.failed(&failure);
    sys::process::exit_now(1)
}

fn try_run(
    spec: &ContainerSpec,
    place: &Place,
    stdio: Stdio,
    status: &StatusWriter,
) -> Result<std::convert::Infallible, Failure> {
    let process = &spec.process;
    let arguments = c_strings("the arguments", &process.args)?;
    let mut environment = c_strings("the environment", &process.env)?;
    let command = process.args.first().ok_or_else(|| Failure::setup("no command was given"))?;

    own_process(process.oom_score_adj)?;
    let files = files::prepare(spec, &place.etc)?;
    let root = enter_root(&place.root)?;
    let devices = mounts::mount_all(&root, &spec.mounts)?;
    files.mount(&root, spec.read_only_root)?;
    let terminal = match process.terminal {
        true => Some(terminal::open(&root, devices.as_ref(), process.console_size, status)?),
        false => None,
    };
    let cwd = working_directory(&root, &process.cwd)?;
    mounts::protect(&root, &spec.read_only_paths)?;
    mounts::mask(&root, &spec.masked_paths, devices.as_ref())?;
    sethostname(&spec.hostname).context("cannot set the host name")?;
    let identity = user::resolve(&root, &spec.user).map_err(|error| Failure::setup(error.to_string()))?;
    if spec.read_only_root {
        let whole = root.look_up(Path::new("/"), OFlag::O_PATH).context("cannot open the root")?;
        set_attributes(whole.as_fd(), attr::RDONLY).context("cannot make the root read-only")?;
    }
    limits::apply(&process.rlimits)?;
    connect_stdio(stdio, terminal, devices.as_ref(), identity.uid)?;
    enter(&cwd, &process.cwd)?;
    let capabilities = Sets::parse(&process.capabilities, identity.uid)?;
    become_user(&identity, &capabilities, process.no_new_privileges)?;
    umask(Mode::from_bits_retain(UMASK));

    if variable(&process.env, "HOME").is_none() {
        let home = [b"HOME=", identity.home.as_bytes()].concat();
        environment
            .push(CString::new(home).map_err(|_| Failure::setup("a zero byte in the home directory"))?);
    }
    let program = exec::find(command, variable(&process.env, "PATH"))?;
    sys::process::close_on_exec_from(3).context("cannot close the agent's files")?;
    Err(exec::become_program(&program, &arguments, &environment))
}

/// Makes the process one of its own: session, signals, cgroup namespace, the kernel's favour.
fn own_process(oom_score_adj: Option<i32>) -> Result<(), Failure> {
    // What is created until the user takes over has the mode that it is given.
    umask(Mode::empty());
    sys::process::ignore_broken_pipes(false).context("cannot reset the signals")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("cannot reset the signals")?;
    setsid().context("cannot start a session")?;
    // Not at birth: there the namespace's root would be the agent's own cgroup.
    unshare(CloneFlags::CLONE_NEWCGROUP).context("cannot enter a cgroup namespace")?;
    if let Some(score) = oom_score_adj {
        // The agent's /proc still, where `self` is this process too.
        fs::write("/proc/self/oom_score_adj", score.to_string())
            .context(&format!("cannot set the OOM score adjustment to {score}"))?;
    }
    Ok(())
}

/// Changes the root and lets go of the old one.
fn enter_root(new: &Path) -> Result<Root, Failure> {
    let what = "cannot enter the container's root file system";
    let none = None::<&str>;
    // What happens to mounts here must not happen to the agent's.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context(what)?;
    nix::unistd::chdir(new).context(what)?;
    // The old root comes to lie on top of the new one, and is then taken off: no directory for it is needed.
    pivot_root(".", ".").context(what)?;
    umount2(".", MntFlags::MNT_DETACH).context(what)?;
    nix::unistd::chdir("/").context(what)?;
    Root::open(Path::new("/")).context(what)
}

/// Opens the working directory and creates it where it is missing, as root, with mode 755, as Docker does.
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

/// Enters the working directory and makes sure that it is inside the root: getcwd(2) has no path for anything else.
fn enter(directory: &OwnedFd, path: &str) -> Result<(), Failure> {
    let what = format!("cannot enter the working directory \"{path}\"");
    fchdir(directory).context(&what)?;
    match getcwd() {
        Ok(here) if here.is_absolute() => Ok(()),
        _ => Err(Failure::setup(format!("{what}: it is outside of the container"))),
    }
}

/// Puts the process's streams in place and gives them to the user, who may want to open them again by way of
/// /dev/stdout.
fn connect_stdio(
    stdio: Stdio,
    terminal: Option<OwnedFd>,
    devices: Option<&Devices>,
    uid: u32,
) -> Result<(), Failure> {
    let what = "cannot connect the process's streams";
    let owner = Some(Uid::from_raw(uid));
    if let Some(terminal) = terminal {
        fchown(&terminal, owner, None).context(what)?;
        sys::terminal::make_controlling(terminal.as_fd()).context(what)?;
        dup2_stdin(&terminal).context(what)?;
        dup2_stdout(&terminal).context(what)?;
        return dup2_stderr(&terminal).context(what);
    }
    let place = |fd: Option<OwnedFd>, dup2: fn(OwnedFd) -> nix::Result<()>| {
        let fd = match fd {
            Some(fd) => {
                fchown(&fd, owner, None)?;
                fd
            }
            None => null(devices)?,
        };
        dup2(fd)
    };
    place(stdio.stdin, dup2_stdin).context(what)?;
    place(stdio.stdout, dup2_stdout).context(what)?;
    place(stdio.stderr, dup2_stderr).context(what)
}

/// The null device of the container, so that it is the same file as its /dev/null.
fn null(devices: Option<&Devices>) -> nix::Result<OwnedFd> {
    devices.ok_or(nix::Error::ENODEV)?.open_null()
}

/// Becomes the user, with the capabilities that are left to it.
fn become_user(identity: &Identity, capabilities: &Sets, no_new_privileges: bool) -> Result<(), Failure> {
    let what = "cannot become the user";
    capabilities.limit()?;
    prctl::set_keepcaps(true).context(what)?;
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).context("cannot set the supplementary groups")?;
    let gid = Gid::from_raw(identity.gid);
    setresgid(gid, gid, gid).context(what)?;
    let uid = Uid::from_raw(identity.uid);
    setresuid(uid, uid, uid).context(what)?;
    prctl::set_keepcaps(false).context(what)?;
    capabilities.apply()?;
    if no_new_privileges {
        prctl::set_no_new_privs().context(what)?;
    }
    Ok(())
}
