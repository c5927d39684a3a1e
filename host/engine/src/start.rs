//! Starting containers.

use std::os::unix::net::UnixStream;

use moat_containers::state::{State, Status};
use moat_containers::{Container, Held};
use moat_images::store::Image;
use moat_monitor::artifacts::Artifacts;
use moat_monitor::config::{ImageFile, MonitorConfig, Purpose};
use moat_monitor::launch;

use crate::session::{AttachOptions, End, Session};
use crate::{Engine, EngineError};

/// Docker's exit code for a container that could not be started for a reason outside it.
const CANNOT_RUN: u8 = 125;

impl Engine {
    /// Starts a container and leaves it to itself; one that runs is no error.
    ///
    /// # Errors
    /// When its state does not allow it, or it cannot be started.
    pub fn start(&self, container: &Container) -> Result<(), EngineError> {
        let Some(held) = self.containers().hold_to_start(container)? else { return Ok(()) };
        let mut session = Session::new(container, self.start_monitor(held, None, Purpose::Run, false)?);
        session.ask_for(&AttachOptions::default())?;
        match session.started()? {
            Some(End::Failed { code, message }) => {
                Err(EngineError::Start { container: container.config.name.clone(), code, message })
            }
            _ => Ok(()),
        }
    }

    /// Starts the containers that were running when the host went down, as far as their policies want it, the oldest
    /// first: later ones may count on them. Tells `report` what came of each.
    ///
    /// # Errors
    /// When the containers cannot be listed.
    pub fn boot(
        &self,
        mut report: impl FnMut(&Container, Result<(), EngineError>),
    ) -> Result<(), EngineError> {
        for container in self.list()?.into_iter().rev() {
            let state = &container.state;
            let ended = state.started.is_some() && !state.status.is_live();
            if ended && container.config.restart.starts_at_boot(state.stopped_by_user) {
                let started = self.start(&container);
                report(&container, started);
            }
        }
        Ok(())
    }

    /// Starts the monitor of a container and hands the lock over to it. Returns the connection of its first client,
    /// which speaks [`moat_monitor::wire`].
    ///
    /// # Errors
    /// When the image's disk cannot be made, which is recorded as the failure of a start, or the process cannot be
    /// started: a new container is then removed again, another one is as it was.
    pub(crate) fn start_monitor(
        &self,
        held: Held,
        image: Option<&Image>,
        purpose: Purpose,
        debug_console: bool,
    ) -> Result<UnixStream, EngineError> {
        let Held { mut container, lock, before } = held;
        let image = match self.image_files(&container, image) {
            Ok(image) => image,
            Err(e) => {
                if purpose == Purpose::Run {
                    // The error that matters is the image's.
                    let _ = match container.config.auto_remove {
                        true => self.remove_held(&container, &lock),
                        false => container
                            .set_state(failed(before.unwrap_or_else(State::created), &e))
                            .map_err(EngineError::from),
                    };
                }
                let container = container.config.name;
                return Err(EngineError::Start { container, code: CANNOT_RUN, message: e.to_string() });
            }
        };
        let started = self.artifacts().and_then(|artifacts| {
            let config = MonitorConfig {
                root: self.root().path().to_owned(),
                id: container.id().clone(),
                purpose,
                artifacts: artifacts.directory().to_owned(),
                image,
                debug_console,
            };
            launch::start(&config, &container.directory, &lock)
                .map_err(EngineError::host("start the container's monitor"))
        });
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

    fn artifacts(&self) -> Result<Artifacts, EngineError> {
        Artifacts::find().map_err(EngineError::host("find moat's own programs"))
    }

    /// The files of the disk of a container's image, the index made if it is missing. A caller that has the image spares
    /// its look-up.
    fn image_files(
        &self,
        container: &Container,
        image: Option<&Image>,
    ) -> Result<Vec<ImageFile>, EngineError> {
        let disk = match image {
            Some(image) => self.store().disk(image),
            None => {
                self.store().resolve(&container.config.image_id).and_then(|image| self.store().disk(&image))
            }
        }?;
        let files = disk.segments.into_iter();
        Ok(files.map(|segment| ImageFile { path: segment.path, length: segment.length }).collect())
    }
}

/// As with Docker, a container whose process never ran stays as it was, with the code and the error.
fn failed(before: State, error: &EngineError) -> State {
    let status = if before.finished.is_some() { Status::Exited } else { Status::Created };
    State { status, exit_code: CANNOT_RUN, error: Some(error.to_string()), ..before }
}
