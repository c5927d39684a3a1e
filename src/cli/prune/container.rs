//! `moat container prune`.

use std::process::ExitCode;

use moat::engine::{Engine, EngineError};
use moat::root::Root;

use super::{PruneArgs, Selection};
use crate::cli::human;

/// Remove all containers that do not run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat container prune
  moat container prune -f --filter until=24h --filter label!=keep

The keys for --filter are until (created before then), label and label!.")]
pub struct Args {
    #[command(flatten)]
    prune: PruneArgs,
}

const WARNING: &str = "WARNING! This will remove all stopped containers.";

/// Asks, removes, and tells what that gave back.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let selection = args.prune.selection("container", WARNING)?;
    let (reclaimed, code) = prune(&Engine::open(root)?, &selection)?;
    say!("Total reclaimed space: {}", human::reclaimed(reclaimed));
    Ok(code)
}

/// Removes the containers that do not run, lists them, and tells how many bytes that gave back.
pub fn prune(engine: &Engine, selection: &Selection) -> anyhow::Result<(u64, ExitCode)> {
    let mut containers = engine.containers()?;
    containers.retain(|container| {
        !container.state.status.is_live()
            && selection.takes(Some(container.config.created), &container.config.labels)
    });
    let (mut removed, mut reclaimed, mut code) = (Vec::new(), 0, ExitCode::SUCCESS);
    for container in &containers {
        let written = engine.written(container);
        match engine.remove(container, false) {
            Ok(()) => {
                removed.push(container.id());
                reclaimed += written;
            }
            // Started or taken by somebody else meanwhile: that one is not for pruning any more.
            Err(EngineError::Illegal { .. } | EngineError::Busy(_) | EngineError::NotFound(_)) => {}
            Err(e) => {
                crate::cli::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    if !removed.is_empty() {
        say!("Deleted Containers:");
        removed.iter().for_each(|id| say!("{id}"));
        say!("");
    }
    Ok((reclaimed, code))
}
