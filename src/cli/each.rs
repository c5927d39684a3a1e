//! Commands that take several containers.

use std::process::ExitCode;

use anyhow::{Context, bail};
use moat::engine::container::Container;
use moat::engine::state::Verb;
use moat::engine::{Engine, Reached};
use moat::monitor::Connection;
use moat::monitor::wire::{ClientMessage, MonitorMessage};
use moat_protocol::frame::FrameError;

/// How often a container may slip away between finding its monitor and asking it.
pub const ATTEMPTS: usize = 5;

/// Does `work` with each container that `wanted` names and prints what was typed for it; goes on after an error.
pub fn each(
    engine: &Engine,
    wanted: &[String],
    work: impl FnMut(&Container) -> anyhow::Result<()>,
) -> ExitCode {
    match count_failures(engine, wanted, |_| false, work) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// As [`each`]; tells how many errors there were. One that is `forgiven` is told to the user and does not count.
pub fn count_failures(
    engine: &Engine,
    wanted: &[String],
    forgiven: impl Fn(&anyhow::Error) -> bool,
    mut work: impl FnMut(&Container) -> anyhow::Result<()>,
) -> usize {
    let mut failures = 0;
    for name in wanted {
        match engine.find(name).map_err(anyhow::Error::from).and_then(|container| work(&container)) {
            Ok(()) => say!("{name}"),
            Err(e) => {
                super::complain(super::explain(&e));
                failures += usize::from(!forgiven(&e));
            }
        }
    }
    failures
}

/// What came of a request.
pub enum Answered {
    /// The container's monitor said this.
    Monitor(MonitorMessage),
    /// The container does not run, and this is its record.
    Idle(Box<Container>),
    /// It is already as it was asked to be.
    Already,
}

/// Asks a container's monitor for something that is done at once.
///
/// # Errors
/// When the container's state does not allow it, or the monitor refuses.
pub fn ask(
    engine: &Engine,
    container: &Container,
    verb: Verb,
    request: &ClientMessage,
) -> anyhow::Result<Answered> {
    for _ in 0..ATTEMPTS {
        let stream = match engine.reach(container, verb)? {
            Reached::Monitor(stream) => stream,
            Reached::Idle(container) => return Ok(Answered::Idle(Box::new(container))),
            Reached::Already(_) => return Ok(Answered::Already),
        };
        match Connection::new(stream).ask(request) {
            Ok(MonitorMessage::Refused { message }) => bail!("{}", named(container, &message)),
            Ok(message) => return Ok(Answered::Monitor(message)),
            // It ended between the finding and the asking: it is looked at again.
            Err(FrameError::Closed | FrameError::Io(_)) => {}
            Err(e) => return Err(e).context("cannot understand the container's monitor"),
        }
    }
    bail!("container {} comes and goes; try again", container.config.name)
}

/// A refusal that does not name the container yet.
fn named(container: &Container, message: &str) -> String {
    if message.contains(&container.config.name) {
        message.to_owned()
    } else {
        format!("container {}: {message}", container.config.name)
    }
}
