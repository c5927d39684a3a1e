//! `moat restart`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;

use super::each::each;
use super::stop::How;

/// Stop containers and start them again
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat restart web
  moat restart -t 30 db")]
pub struct Args {
    #[command(flatten)]
    how: How,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Restarts each container; one that does not run is started.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    Ok(each(&engine, &args.containers, |container| engine.restart(container, (&args.how).into())))
}
