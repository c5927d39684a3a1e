//! From a container that is set up to the command that runs in it: what the first process and those that join it have
//! in common.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use moat_protocol::guest::Process;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Uid, dup, dup2_stderr, dup2_stdin, dup2_stdout, fchdir, fchown, getcwd, setgroups, setresgid,
    setresuid, setsid,
};

use super::capabilities::Sets;
use super::exec::{self, c_strings, variable};
use super::user::Identity;
use super::{limits, supervisor};
use crate::failure::{Context, Failure};
use crate::process::{StatusWriter, Stdio};
use crate::{kmsg, sys};

/// The umask of a process: what it makes can be read by all users, and written by its own.
pub const UMASK: u32 = 0o022;

/// Makes a fork of the agent a process of its own: it closes the agent's descriptors, resets signals and sets the OOM
/// score. `joined` is the descriptor that it still needs beside its streams. The umask is zero from here on, so that
/// files get the modes that they are made with.
pub fn detach(
    process: &Process,
    stdio: &Stdio,
    status: &StatusWriter,
    joined: Option<BorrowedFd<'_>>,
) -> Result<(), Failure> {
    let pipes = [&stdio.stdin, &stdio.stdout, &stdio.stderr].into_iter().flatten().map(AsFd::as_fd);
    let kept: Vec<_> = pipes.chain([status.as_fd()]).chain(joined).chain(kmsg::as_fd()).collect();
    sys::process::keep_only(&kept).context("cannot close the agent's files")?;
    umask(Mode::empty());
    sys::process::reset_signals().context("cannot reset the signals")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("cannot reset the signals")?;
    if let Some(score) = process.oom_score_adj {
        // This is still the agent's /proc, in which `self` is this process.
        fs::write("/proc/self/oom_score_adj", score.to_string())
            .context(&format!("cannot set the OOM score adjustment to {score}"))?;
    }
    Ok(())
}

/// What a process's descriptors 0 to 2 are made of.
pub struct Streams {
    /// Its pipes.
    pub stdio: Stdio,
    /// Its terminal, instead of them.
    pub terminal: Option<OwnedFd>,
    /// What takes the place of a missing pipe.
    pub null: Option<OwnedFd>,
}

/// What to run.
pub struct Command<'a> {
    process: &'a Process,
    name: &'a str,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl<'a> Command<'a> {
    /// Checks what can be checked before anything is done.
    pub fn new(process: &'a Process) -> Result<Self, Failure> {
        Ok(Self {
            process,
            name: process.args.first().ok_or_else(|| Failure::setup("no command was given"))?,
            arguments: c_strings("the arguments", &process.args)?,
            environment: c_strings("the environment", &process.env)?,
        })
    }

    /// Takes over the calling process: streams, limits, user, capabilities, command. If the process is `supervised`, a
    /// child runs the command.
    pub fn become_it(
        mut self,
        streams: Streams,
        cwd: &OwnedFd,
        identity: &Identity,
        supervised: bool,
    ) -> Result<Infallible, Failure> {
        let process = self.process;
        let has_terminal = streams.terminal.is_some();
        limits::apply(&process.rlimits)?;
        connect(streams, identity.uid)?;
        enter(cwd, &process.cwd)?;
        let capabilities = Sets::parse(&process.capabilities, identity.uid)?;
        become_user(identity, &capabilities, process.no_new_privileges)?;
        umask(Mode::from_bits_retain(UMASK));
        if variable(&process.env, "HOME").is_none() {
            let home = [b"HOME=", identity.home.as_bytes()].concat();
            let home = CString::new(home).map_err(|_| Failure::setup("a zero byte in the home directory"))?;
            self.environment.push(home);
        }
        if supervised {
            supervisor::split().context("cannot start a process beside the init")?;
        }
        setsid().context("cannot start a session")?;
        if has_terminal {
            sys::terminal::make_controlling(std::io::stdin().as_fd())
                .context("cannot make the terminal the controlling one")?;
        }
        let program = exec::find(self.name, variable(&process.env, "PATH"))?;
        sys::process::close_on_exec_from(3).context("cannot close the agent's files")?;
        Err(exec::become_program(&program, &self.arguments, &self.environment))
    }
}

/// Enters the working directory and makes sure that it is inside the root: elsewhere getcwd(2) has no absolute path.
fn enter(directory: &OwnedFd, path: &str) -> Result<(), Failure> {
    let what = format!("cannot enter the working directory \"{path}\"");
    fchdir(directory).context(&what)?;
    match getcwd() {
        Ok(here) if here.is_absolute() => Ok(()),
        _ => Err(Failure::setup(format!("{what}: it is outside of the container"))),
    }
}

/// Puts the process's streams in place and gives them to the user, who may open them again through /dev/stdout.
fn connect(streams: Streams, uid: u32) -> Result<(), Failure> {
    let what = "cannot connect the process's streams";
    let owner = Some(Uid::from_raw(uid));
    if let Some(terminal) = streams.terminal {
        fchown(&terminal, owner, None).context(what)?;
        dup2_stdin(&terminal).context(what)?;
        dup2_stdout(&terminal).context(what)?;
        return dup2_stderr(&terminal).context(what);
    }
    let Stdio { stdin, stdout, stderr } = streams.stdio;
    let prepare = |fd: Option<OwnedFd>| match fd {
        Some(fd) => fchown(&fd, owner, None).map(|()| fd),
        None => dup(streams.null.as_ref().ok_or(nix::Error::ENODEV)?),
    };
    prepare(stdin).and_then(dup2_stdin).context(what)?;
    prepare(stdout).and_then(dup2_stdout).context(what)?;
    prepare(stderr).and_then(dup2_stderr).context(what)
}

/// Becomes the user, with the user's capabilities.
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
