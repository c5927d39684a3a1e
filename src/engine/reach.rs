//! Reaching a container's monitor, whatever moves meanwhile.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::container::Container;
use super::start::Purpose;
use super::state::{Permit, Verb};
use super::{Engine, EngineError, socket};

/// How long a container may be on its way from one state to the next.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before looking again.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// Who answers for a container.
pub enum Reached {
    /// Its monitor, at the other end of this connection.
    Monitor(UnixStream),
    /// Nobody: it does not run, and this is its record.
    Idle(Container),
    /// Nobody has to: it is already as it was asked to be.
    Already(Container),
}

impl Engine {
    /// Reaches the monitor of a container for `verb`. A container that does not run has none.
    ///
    /// # Errors
    /// When the container's state does not allow the verb, or its monitor does not answer.
    pub fn reach(&self, container: &Container, verb: Verb) -> Result<Reached, EngineError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let container = self.reload(container)?;
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

    /// Reaches whoever can read and write a container's files: the monitor of a running one, or one that is started
    /// for this and looks into it without its process.
    ///
    /// # Errors
    /// As [`Engine::reach`], and when another command is busy with the container.
    pub fn reach_files(&self, container: &Container, verb: Verb) -> Result<UnixStream, EngineError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let container = match self.reach(container, verb)? {
                Reached::Monitor(connection) => return Ok(connection),
                Reached::Idle(container) | Reached::Already(container) => container,
            };
            if let Some(held) = self.hold(&container)? {
                // It may have been started between the looking and the locking.
                if !held.container.state.status.is_live() {
                    return self.start_monitor(held, Purpose::Look, false);
                }
                continue;
            }
            // Somebody else looks into it already, and has room for one more.
            match socket::connect(&container.directory) {
                Ok(connection) => return Ok(connection),
                Err(e) if is_moving(&e) && Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(e) if is_moving(&e) => return Err(EngineError::Busy(container.config.name)),
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
