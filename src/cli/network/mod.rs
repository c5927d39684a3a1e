//! `moat network`.

mod connect;
mod create;
mod inspect;
mod ls;
mod rm;

use std::process::ExitCode;

use clap::Subcommand;
use moat::root::Root;

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
    Connect(connect::ConnectArgs),
    Create(create::Args),
    Disconnect(connect::DisconnectArgs),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::network::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

/// Does what was asked.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    match args.command {
        Verb::Connect(args) => connect::connect(args, root),
        Verb::Create(args) => create::run(args, &root),
        Verb::Disconnect(args) => connect::disconnect(&args, root),
        Verb::Inspect(args) => inspect::run(&args, root),
        Verb::Ls(args) => ls::run(&args, &root),
        Verb::Prune(args) => prune::network::run(&args, root),
        Verb::Rm(args) => rm::run(&args, root),
    }
}
