//! `moat kill`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;

use super::each::each;
use super::parse;

/// Send a signal to containers
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat kill web
  moat kill -s HUP web")]
pub struct Args {
    /// The signal
    #[arg(short, long, default_value = "KILL", value_parser = parse::signal)]
    signal: i32,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Sends the signal to each container's first process.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    Ok(each(&engine, &args.containers, |container| engine.kill(container, args.signal)))
}
