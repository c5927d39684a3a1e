//! `moat network`.

mod connect;
mod create;
pub mod inspect;
mod ls;
mod rm;

use std::process::ExitCode;

use clap::Subcommand;
use moat_engine::Root;

use super::lazy::Lazy;
use super::prune;

/// Manage networks
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network create shop
  moat run -d --name db --network shop localhost/mariadb
  moat run --rm --network shop localhost/debian ping db
  moat network rm shop

Containers of a network that was created find each other by name; those of the default network, bridge,
do not. Containers of different networks do not reach each other.")]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Connect(Lazy<connect::ConnectArgs>),
    Create(Lazy<create::Args>),
    Disconnect(Lazy<connect::DisconnectArgs>),
    Inspect(Lazy<inspect::Args>),
    #[command(visible_alias = "list")]
    Ls(Lazy<ls::Args>),
    Prune(Lazy<prune::network::Args>),
    #[command(visible_alias = "remove")]
    Rm(Lazy<rm::Args>),
}

/// Does what was asked.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    match args.command {
        Verb::Connect(Lazy(args)) => connect::connect(*args, root),
        Verb::Create(Lazy(args)) => create::run(*args, &root),
        Verb::Disconnect(Lazy(args)) => connect::disconnect(&args, root),
        Verb::Inspect(Lazy(args)) => inspect::run(&args, root),
        Verb::Ls(Lazy(args)) => ls::run(&args, &root),
        Verb::Prune(Lazy(args)) => prune::network::run(&args, root),
        Verb::Rm(Lazy(args)) => rm::run(&args, root),
    }
}
