//! `moat rm`.

use std::process::ExitCode;

use moat::engine::Engine;
use moat::root::Root;

use super::each::each;

/// Remove containers
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat rm web
  moat rm -f $(moat ps -aq)")]
pub struct Args {
    /// Kill a container that runs
    #[arg(short, long)]
    force: bool,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Removes each container and prints what was typed for it; goes on after an error.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    Ok(each(&engine, &args.containers, |container| Ok(engine.remove(container, args.force)?)))
}
