//! `moat system`: what concerns everything at once.

mod check;
mod df;

use std::process::ExitCode;

use clap::Subcommand;
use moat::root::Root;

use super::prune;

use super::{events, info};

/// Look after space and soundness
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat system df -v
  moat system prune -a
  moat system check")]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Df(df::Args),
    Prune(prune::system::Args),
    Check(check::Args),
    Info(info::Args),
    Events(events::Args),
}

/// Does what the verb says.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    match args.command {
        Verb::Df(args) => df::run(&args, root),
        Verb::Prune(args) => prune::system::run(&args, root),
        Verb::Check(args) => check::run(&args, &root),
        Verb::Info(args) => info::run(&args, root),
        Verb::Events(args) => events::run(&args, &root),
    }
}
