//! `moat pause` and `moat unpause`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;

use super::each::each;

/// Stop the processors of containers; everything in them stands still
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat pause web
  moat unpause web")]
pub struct Args {
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Let the processors of paused containers run again
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat unpause web")]
pub struct UnpauseArgs {
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Pauses each container.
pub fn pause(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    Ok(each(&engine, &args.containers, |container| engine.pause(container)))
}

/// Lets each container go on.
pub fn unpause(args: &UnpauseArgs, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    Ok(each(&engine, &args.containers, |container| engine.unpause(container)))
}
