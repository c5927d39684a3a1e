//! `moat system`: what concerns everything at once.

mod check;
mod df;

use std::process::ExitCode;

use clap::Subcommand;
use moat_engine::Root;

use super::lazy::Lazy;
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
    Df(Lazy<df::Args>),
    Prune(Lazy<prune::system::Args>),
    Check(Lazy<check::Args>),
    Info(Lazy<info::Args>),
    Events(Lazy<events::Args>),
}

/// Does what the verb says.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    match args.command {
        Verb::Df(Lazy(args)) => df::run(&args, root),
        Verb::Prune(Lazy(args)) => prune::system::run(&args, root),
        Verb::Check(Lazy(args)) => check::run(&args, &root),
        Verb::Info(Lazy(args)) => info::run(&args, root),
        Verb::Events(Lazy(args)) => events::run(&args, &root),
    }
}
