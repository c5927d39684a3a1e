//! `moat wait`.

use std::process::ExitCode;

use moat::engine::state::Verb;
use moat::engine::{Engine, EngineError};
use moat::monitor::wire::{ClientMessage, MonitorMessage};
use moat::root::Root;

use super::each::{Answered, ask};

/// Wait until containers have ended, and print their exit codes
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat wait job")]
pub struct Args {
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Prints each container's exit code as soon as there is one.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let mut exit = ExitCode::SUCCESS;
    for wanted in &args.containers {
        match wait(&engine, wanted) {
            Ok(code) => say!("{code}"),
            Err(e) => {
                super::complain(super::explain(&e));
                exit = ExitCode::FAILURE;
            }
        }
    }
    Ok(exit)
}

fn wait(engine: &Engine, wanted: &str) -> anyhow::Result<u8> {
    let container = engine.find(wanted)?;
    match ask(engine, &container, Verb::Wait, &ClientMessage::Wait)? {
        Answered::Monitor(MonitorMessage::Exited { code, .. } | MonitorMessage::Failed { code, .. }) => {
            Ok(code)
        }
        Answered::Idle(container) => Ok(container.state.exit_code),
        Answered::Monitor(_) | Answered::Already => Err(EngineError::NotFound(wanted.to_owned()).into()),
    }
}
