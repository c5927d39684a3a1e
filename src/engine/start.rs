//! Starting a container's monitor.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::container::Container;
use super::{Engine, EngineError};
use crate::record::Lock;

/// A container that is locked and recorded as running, and whose monitor does not exist yet.
pub struct Created {
    /// The container.
    pub container: Container,
    pub(super) lock: Lock,
}

/// What a monitor process is started with, as its command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorStart {
    /// The number of the descriptor that holds the container's lock.
    pub lock: i32,
    /// The number of the descriptor of the first client's connection.
    pub client: i32,
}

impl Engine {
    /// Starts the monitor of a new container and hands the lock over to it. Returns the connection to it, which
    /// speaks [`crate::monitor::wire`].
    ///
    /// # Errors
    /// When the process cannot be started; the container is then removed again.
    pub fn start_monitor(&self, created: Created, debug_console: bool) -> Result<UnixStream, EngineError> {
        let Created { container, lock } = created;
        let started = self.spawn(&container, lock.as_fd().try_clone_to_owned(), debug_console);
        if started.is_err() {
            // The error that matters is the start's.
            let _ = container.remove(self.root(), &lock);
        }
        // From here on the monitor's copy of the descriptor is what holds the lock.
        started
    }

    fn spawn(
        &self,
        container: &Container,
        lock: std::io::Result<OwnedFd>,
        debug_console: bool,
    ) -> Result<UnixStream, EngineError> {
        let host = EngineError::host("start the container's monitor");
        let run = || {
            let lock = lock?;
            let (ours, theirs) = UnixStream::pair()?;
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(container.directory.path().join("monitor.log"))?;
            for inherited in [lock.as_fd(), theirs.as_fd()] {
                fcntl(inherited, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            let mut command = Command::new("/proc/self/exe");
            command.arg("--root").arg(self.root().path()).arg("monitor").arg(container.id().as_str());
            command.args(["--lock", &lock.as_raw_fd().to_string()]);
            command.args(["--client", &theirs.as_raw_fd().to_string()]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            if debug_console {
                command.arg("--debug-console").stderr(Stdio::inherit());
            } else {
                command.stderr(log);
            }
            // Its own group: what a terminal sends to the client is not for it.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            command.spawn()?;
            Ok(ours)
        };
        run().map_err(host)
    }
}
