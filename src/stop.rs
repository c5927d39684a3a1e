//! `moat stop`.

use std::process::ExitCode;

use moat_engine::Root;
use moat_engine::{Engine, StopOptions};

use super::each::each;
use super::parse;

/// End containers: ask them to, and kill those that do not in time
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat stop web
  moat stop -t 30 db cache")]
pub struct Args {
    #[command(flatten)]
    how: How,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// How a container is ended.
#[derive(clap::Args)]
pub struct How {
    /// Seconds until it is killed; -1 for never [default: the container's, or 10]
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_negative_numbers = true)]
    time: Option<i64>,
    /// The signal that asks it to end [default: the container's]
    #[arg(short, long, value_parser = parse::signal)]
    signal: Option<i32>,
}

impl From<&How> for StopOptions {
    fn from(how: &How) -> Self {
        Self { signal: how.signal, timeout: how.time }
    }
}

/// Stops each container.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    Ok(each(&engine, &args.containers, |container| engine.stop(container, (&args.how).into())))
}
