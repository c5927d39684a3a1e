//! Reaching a container's monitor, also while the container starts or ends.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use moat_containers::hold::{PATIENCE, PAUSE};
use moat_containers::state::{Permit, Verb};
use moat_containers::{Container, ContainerError, socket};
use moat_monitor::Connection;
use moat_monitor::config::Purpose;
use moat_monitor::wire::{ClientMessage, MonitorMessage};
use moat_protocol::frame::FrameError;

use crate::{Engine, EngineError};

/// How often a container may slip away between finding its monitor and asking it.
const ATTEMPTS: usize = 5;

/// What came of a request.
pub(crate) enum Answered {
    /// The container's monitor said this.
    Monitor(MonitorMessage),
    /// The container does not run, and this is its record.
    Idle(Box<Container>),
    /// It is already as it was asked to be.
    Already,
}

/// Who answers for a container.
pub(crate) enum Reached {
    /// Its monitor, at the other end of this connection.
    Monitor(UnixStream),
    /// No process: it does not run, and this is its record.
    Idle(Container),
    /// None is needed: it is already as it was asked to be.
    Already(Container),
}

impl Engine {
    /// Reaches the monitor of a container for `verb`. A container that does not run has none.
    ///
    /// # Errors
    /// When the container's state does not allow the verb, or its monitor does not answer.
    pub(crate) fn reach(&self, container: &Container, verb: Verb) -> Result<Reached, EngineError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let container = self.containers().reload(container)?;
            match container.permit(verb)? {
                Permit::Nothing => return Ok(Reached::Already(container)),
                Permit::Go if !container.state.status.is_live() => return Ok(Reached::Idle(container)),
                Permit::Go => {}
            }
            match socket::connect(&container.directory) {
                Ok(connection) => return Ok(Reached::Monitor(connection)),
                // It is about to listen, or has just stopped to.
                Err(e) if is_moving(&e) && Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(source) => {
                    return Err(EngineError::Host { action: "reach the container's monitor", source });
                }
            }
        }
    }

    /// Asks a container's monitor for something that is done at once.
    ///
    /// # Errors
    /// When the container's state does not allow it, or the monitor refuses.
    pub(crate) fn ask(
        &self,
        container: &Container,
        verb: Verb,
        request: &ClientMessage,
    ) -> Result<Answered, EngineError> {
        let asked = self.attempt(container, |engine| {
            let stream = match engine.reach(container, verb)? {
                Reached::Monitor(stream) => stream,
                Reached::Idle(container) => return Ok(Ok(Answered::Idle(Box::new(container)))),
                Reached::Already(_) => return Ok(Ok(Answered::Already)),
            };
            Ok(Connection::new(stream).ask(request).map(Answered::Monitor))
        });
        match asked? {
            Answered::Monitor(MonitorMessage::Refused(refusal)) => {
                Err(EngineError::Refused { container: container.config.name.clone(), refusal })
            }
            other => Ok(other),
        }
    }

    /// Does `work` with a container's monitor, again as long as that ends between being found and being asked, which `work`
    /// says with the error of its connection.
    ///
    /// # Errors
    /// What `work` says, and when the monitor slips away each time or cannot be understood.
    pub(crate) fn attempt<T>(
        &self,
        container: &Container,
        mut work: impl FnMut(&Self) -> Result<Result<T, FrameError>, EngineError>,
    ) -> Result<T, EngineError> {
        let name = || container.config.name.clone();
        for _ in 0..ATTEMPTS {
            match work(self)? {
                Ok(done) => return Ok(done),
                Err(FrameError::Closed | FrameError::Io(_)) => {}
                Err(FrameError::Version { found: version, .. }) => {
                    return Err(EngineError::MonitorVersion { container: name(), version });
                }
                Err(cause) => return Err(EngineError::Monitor { container: name(), cause }),
            }
        }
        Err(EngineError::Unsteady(name()))
    }

    /// Reaches the monitor that can read and write a container's files: that of a running one, or one that is started
    /// for this and looks into it without its process.
    ///
    /// # Errors
    /// As [`Engine::reach`], and when another command is busy with the container.
    pub(crate) fn reach_files(&self, container: &Container, verb: Verb) -> Result<UnixStream, EngineError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let container = match self.reach(container, verb)? {
                Reached::Monitor(connection) => return Ok(connection),
                Reached::Idle(container) | Reached::Already(container) => container,
            };
            if let Some(held) = self.containers().hold(&container)? {
                // It may have been started between the looking and the locking.
                if !held.container.state.status.is_live() {
                    return self.start_monitor(held, None, Purpose::Look, false);
                }
                continue;
            }
            // Another monitor looks into it already, and has room for one more client.
            match socket::connect(&container.directory) {
                Ok(connection) => return Ok(connection),
                Err(e) if is_moving(&e) && Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(e) if is_moving(&e) => return Err(ContainerError::Busy(container.config.name).into()),
                Err(source) => {
                    return Err(EngineError::Host { action: "reach the container's monitor", source });
                }
            }
        }
    }
}

fn is_moving(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
