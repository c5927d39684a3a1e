//! One process per container: it owns the VM, the streams, the log and the exit status, and outlives the command that
//! started it. Its life is [`run`].

mod client;
mod descriptors;
mod guest;
mod link;
mod memory;
mod spec;
mod streams;
mod vm;
pub mod wire;

use jiff::Timestamp;

pub use descriptors::{inherited, send as send_with_descriptors};

use crate::engine::cgroup::Cgroup;
use crate::engine::container::Container;
use crate::engine::id::ContainerId;
use crate::engine::state::{LOST_EXIT_CODE, State, Status};
use crate::engine::{Engine, EngineError, MonitorStart};
use crate::record::Lock;
use client::{Attached, Client};
use guest::{Guest, StartError};
use vm::{Vm, VmError};
use wire::MonitorMessage;

/// Docker's exit code for a container that could not be started for a reason outside it.
const CANNOT_RUN: u8 = 125;

/// How a run ended.
enum Outcome {
    /// The process ran.
    Exited { code: u8, oom_killed: bool, error: Option<String> },
    /// The process never ran.
    Failed { code: u8, message: String },
}

/// Runs container `id` from boot to end: boots its VM, starts its process, carries its streams, records how it ended,
/// and removes what was made for it on the host.
///
/// # Errors
/// When the container's records cannot be used. How the run itself went is told to the client and recorded.
pub fn run(
    engine: &Engine,
    id: &ContainerId,
    start: &MonitorStart,
    debug_console: bool,
) -> Result<(), EngineError> {
    let host = |action| move |source| EngineError::Host { action, source };
    let lock = Lock::inherited(inherited(start.lock).map_err(host("take over the container's lock"))?);
    let client = inherited(start.client).map_err(host("take over the client's connection"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(host("start the monitor"))?;
    let mut container = Container::read(engine.root(), id)?;
    runtime.block_on(async {
        let (mut client, attached) = match Client::accept(client).await {
            Ok(accepted) => accepted,
            // The client was killed before it said anything: there is nobody to run this for.
            Err(e) => return finish(engine, &mut container, &lock, abandoned(&e)).map(drop),
        };
        let outcome = execute(engine, &mut container, &mut client, attached, debug_console).await;
        let message = finish(engine, &mut container, &lock, outcome)?;
        // The record is written and the host clean before anyone hears of the end.
        drop(lock);
        client.send(&message).await;
        Ok(())
    })
}

fn abandoned(error: &std::io::Error) -> Outcome {
    Outcome::Failed { code: CANNOT_RUN, message: format!("the client went away: {error}") }
}

/// Boots, starts, supervises; tells how it ended.
async fn execute(
    engine: &Engine,
    container: &mut Container,
    client: &mut Client,
    attached: Attached,
    debug_console: bool,
) -> Outcome {
    let failed = |code, message| Outcome::Failed { code, message };
    let vm = match boot(engine, container, debug_console) {
        Ok(vm) => vm,
        Err(e) => return failed(CANNOT_RUN, e.to_string()),
    };
    let mut guest = match Guest::start(&vm, container, attached).await {
        Ok(guest) => guest,
        Err(StartError { code, message }) => {
            vm.kill();
            return failed(code, message);
        }
    };
    let state = State { started: Some(Timestamp::now()), ..container.state.clone() };
    if let Err(e) = container.set_state(state) {
        vm.kill();
        return failed(CANNOT_RUN, e.to_string());
    }
    client.send(&MonitorMessage::Started).await;
    memory::release();
    let exit = guest.supervise(&vm, client).await;
    let outcome = match exit {
        Ok(exit) => {
            // A disk that is about to be deleted needs no goodbye.
            if !container.config.auto_remove {
                guest.shut_down(&vm).await;
            }
            Outcome::Exited { code: exit.code, oom_killed: exit.oom_killed, error: None }
        }
        Err(why) => {
            guest.drain().await;
            Outcome::Exited { code: LOST_EXIT_CODE, oom_killed: false, error: Some(why) }
        }
    };
    vm.kill();
    outcome
}

fn boot(engine: &Engine, container: &Container, debug_console: bool) -> Result<Vm, VmError> {
    let image = engine.store().resolve(&container.config.image_id).map_err(EngineError::from)?;
    let disk = engine.store().disk(&image).map_err(EngineError::from)?;
    Vm::start(container, disk, debug_console)
}

/// Records the outcome and removes what the run left on the host; returns what the client is to hear.
fn finish(
    engine: &Engine,
    container: &mut Container,
    lock: &Lock,
    outcome: Outcome,
) -> Result<MonitorMessage, EngineError> {
    let (state, message) = conclude(&container.state, outcome);
    if container.config.auto_remove {
        container.remove(engine.root(), lock)?;
    } else {
        Cgroup::of(container.id()).destroy()?;
        container.set_state(state)?;
    }
    Ok(message)
}

fn conclude(before: &State, outcome: Outcome) -> (State, MonitorMessage) {
    match outcome {
        Outcome::Exited { code, oom_killed, error } => {
            let state = State {
                status: Status::Exited,
                started: before.started,
                finished: Some(Timestamp::now()),
                exit_code: code,
                oom_killed,
                error: error.clone(),
            };
            (state, MonitorMessage::Exited { code, error })
        }
        // As with Docker, a container whose process never ran stays "created", with the code and the error.
        Outcome::Failed { code, message } => {
            let state = State { exit_code: code, error: Some(message.clone()), ..State::created() };
            (state, MonitorMessage::Failed { code, message })
        }
    }
}
