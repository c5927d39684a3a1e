//! `moat container`: the verbs on containers under their noun.

use std::process::ExitCode;

use clap::Subcommand;
use moat::root::Root;

use super::{
    attach, commit, cp, create, diff, exec, export, inspect, kill, logs, pause, port, prune, ps, rename,
    restart, rm, run, start, stats, stop, top, update, wait,
};

/// Manage containers
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat container ls -a
  moat container inspect web
  moat container prune")]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Attach(attach::Args),
    Commit(commit::Args),
    Cp(cp::Args),
    Create(Box<create::Args>),
    Diff(diff::Args),
    Exec(exec::Args),
    Export(export::Args),
    Inspect(inspect::ContainerArgs),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Pause(pause::Args),
    Port(port::Args),
    Prune(prune::container::Args),
    Rename(rename::Args),
    Restart(restart::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Run(Box<run::Args>),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
    Unpause(pause::UnpauseArgs),
    Update(update::Args),
    Wait(wait::Args),
}

impl Args {
    /// Whether it is `run`, whose failures have a code of their own.
    pub fn runs(&self) -> bool {
        matches!(self.command, Verb::Run(_))
    }
}

/// Does what the verb alone does.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    match args.command {
        Verb::Attach(args) => attach::run(args, root),
        Verb::Commit(args) => commit::run(args, root),
        Verb::Cp(args) => cp::run(&args, root),
        Verb::Diff(args) => diff::run(&args, root),
        Verb::Export(args) => export::run(&args, root),
        Verb::Create(args) => create::run(*args, root),
        Verb::Exec(args) => exec::run(args, root),
        Verb::Inspect(args) => inspect::run(args.into(), root),
        Verb::Kill(args) => kill::run(&args, root),
        Verb::Logs(args) => logs::run(&args, root),
        Verb::Ls(args) => ps::run(args, root),
        Verb::Pause(args) => pause::pause(&args, root),
        Verb::Port(args) => port::run(&args, root),
        Verb::Prune(args) => prune::container::run(&args, root),
        Verb::Rename(args) => rename::run(args, root),
        Verb::Restart(args) => restart::run(&args, root),
        Verb::Rm(args) => rm::run(&args, root),
        Verb::Run(args) => run::run(*args, root),
        Verb::Start(args) => start::run(args, root),
        Verb::Stats(args) => stats::run(&args, root),
        Verb::Stop(args) => stop::run(&args, root),
        Verb::Top(args) => top::run(&args, root),
        Verb::Unpause(args) => pause::unpause(&args, root),
        Verb::Update(args) => update::run(&args, root),
        Verb::Wait(args) => wait::run(&args, root),
    }
}
