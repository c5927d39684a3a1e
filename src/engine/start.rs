//! Starting a container's monitor.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::container::Container;
use super::reach::{PATIENCE, PAUSE};
use super::state::{Permit, State, Verb};
use super::{Engine, EngineError, socket};
use crate::halt;
use crate::record::Lock;

/// A container that is locked: nobody else creates, runs, looks into or removes it.
pub struct Held {
    /// The container.
    pub container: Container,
    pub(super) lock: Lock,
    /// Its state when it was locked; none when it is new.
    pub(super) before: Option<State>,
}

/// From which length on a monitor's log begins anew with the next start, in bytes.
const MAX_MONITOR_LOG: u64 = 1 << 20;

/// What a monitor is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Run the container's process.
    Run,
    /// Look into the container's files, without its process, for as long as somebody wants to.
    Look,
}

/// What a monitor process is started with, as its command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorStart {
    /// The number of the descriptor that holds the container's lock.
    pub lock: i32,
    /// The number of the descriptor of the socket that clients connect to.
    pub listener: i32,
    /// The number of the descriptor of the first client's connection.
    pub client: i32,
    /// What it is there for.
    pub purpose: Purpose,
    /// Whether the guest's console goes to stderr.
    pub debug_console: bool,
}

impl Engine {
    /// Holds a container that is to be started, and records it as running. Nothing when it runs already.
    ///
    /// # Errors
    /// When its state does not allow a start, or another command is busy with it.
    pub fn hold_to_start(&self, container: &Container) -> Result<Option<Held>, EngineError> {
        let Some(mut held) = self.hold_idle(container)? else {
            let now = self.reload(container)?;
            return match now.permit(Verb::Start)? {
                Permit::Nothing => Ok(None),
                Permit::Go => Err(EngineError::Busy(now.config.name)),
            };
        };
        match held.container.permit(Verb::Start)? {
            Permit::Nothing => return Ok(None),
            Permit::Go => {}
        }
        let starting = held.container.state.starting();
        held.container.set_state(starting)?;
        halt::point("start.recorded");
        Ok(Some(held))
    }

    /// Locks a container that does not run and reads it again. Nothing when it runs. Whoever only looks into it is waited
    /// for.
    ///
    /// # Errors
    /// When it is gone or cannot be read, or is looked into for too long.
    pub(super) fn hold_idle(&self, container: &Container) -> Result<Option<Held>, EngineError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(held) = self.hold(container)? {
                return Ok(Some(held));
            }
            if self.reload(container)?.state.status.is_live() {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Err(EngineError::Busy(container.config.name.clone()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Locks a container and reads it again. Nothing when somebody else holds it.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    pub(super) fn hold(&self, container: &Container) -> Result<Option<Held>, EngineError> {
        let gone = || EngineError::NotFound(container.config.name.clone());
        match Lock::attempt(&container.directory.lock()) {
            Ok(None) => Ok(None),
            Ok(Some(lock)) => match Container::read(self.root(), container.id()) {
                Ok(container) => Ok(Some(Held { before: Some(container.state.clone()), container, lock })),
                Err(EngineError::Record(e)) if e.is_not_found() => Err(gone()),
                Err(e) => Err(e),
            },
            Err(e) if e.is_not_found() => Err(gone()),
            Err(e) => Err(e.into()),
        }
    }

    /// Starts the monitor of a container and hands the lock over to it. Returns the connection of its first client,
    /// which speaks [`crate::monitor::wire`].
    ///
    /// # Errors
    /// When the process cannot be started. A new container is then removed again; another one is as it was.
    pub fn start_monitor(
        &self,
        held: Held,
        purpose: Purpose,
        debug_console: bool,
    ) -> Result<UnixStream, EngineError> {
        let Held { mut container, lock, before } = held;
        let started = self.spawn(&container, &lock, purpose, debug_console);
        if started.is_err() && purpose == Purpose::Run {
            // The error that matters is the start's.
            let _ = match before {
                Some(state) => container.set_state(state),
                None => container.remove(self.root(), &lock),
            };
        }
        // From here on the monitor's copy of the descriptor is what holds the lock.
        started
    }

    fn spawn(
        &self,
        container: &Container,
        lock: &Lock,
        purpose: Purpose,
        debug_console: bool,
    ) -> Result<UnixStream, EngineError> {
        let run = || -> io::Result<UnixStream> {
            let lock = lock.as_fd().try_clone_to_owned()?;
            let (ours, theirs) = UnixStream::pair()?;
            // Bound before the monitor exists: whoever sees that the container runs can connect.
            let listener = socket::bind(&container.directory)?;
            halt::point("start.bound");
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(container.directory.path().join("monitor.log"))?;
            if log.metadata()?.len() > MAX_MONITOR_LOG {
                log.set_len(0)?;
            }
            for inherited in [lock.as_fd(), theirs.as_fd(), listener.as_fd()] {
                fcntl(inherited, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            let mut command = Command::new("/proc/self/exe");
            command.arg("--root").arg(self.root().path()).arg("monitor").arg(container.id().as_str());
            command.args(["--lock", &lock.as_raw_fd().to_string()]);
            command.args(["--listener", &listener.as_raw_fd().to_string()]);
            command.args(["--client", &theirs.as_raw_fd().to_string()]);
            if purpose == Purpose::Look {
                command.args(["--purpose", "look"]);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null());
            if debug_console {
                command.arg("--debug-console").stderr(Stdio::inherit());
            } else {
                command.stderr(log);
            }
            // Its own group: what a terminal sends to the client is not for it.
            command.process_group(0);
            command.spawn()?;
            halt::point("start.spawned");
            Ok(ours)
        };
        run().map_err(EngineError::host("start the container's monitor"))
    }
}
