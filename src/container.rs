//! `moat container`: the verbs on containers under their noun.

use std::process::ExitCode;

use clap::Subcommand;
use moat_engine::Root;

use super::lazy::Lazy;
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
    Attach(Lazy<attach::Args>),
    Commit(Lazy<commit::Args>),
    Cp(Lazy<cp::Args>),
    Create(Lazy<create::Args>),
    Diff(Lazy<diff::Args>),
    Exec(Lazy<exec::Args>),
    Export(Lazy<export::Args>),
    Inspect(Lazy<inspect::ContainerArgs>),
    Kill(Lazy<kill::Args>),
    Logs(Lazy<logs::Args>),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(Lazy<ps::Args>),
    Pause(Lazy<pause::Args>),
    Port(Lazy<port::Args>),
    Prune(Lazy<prune::container::Args>),
    Rename(Lazy<rename::Args>),
    Restart(Lazy<restart::Args>),
    #[command(visible_alias = "remove")]
    Rm(Lazy<rm::Args>),
    Run(Lazy<run::Args>),
    Start(Lazy<start::Args>),
    Stats(Lazy<stats::Args>),
    Stop(Lazy<stop::Args>),
    Top(Lazy<top::Args>),
    Unpause(Lazy<pause::UnpauseArgs>),
    Update(Lazy<update::Args>),
    Wait(Lazy<wait::Args>),
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
        Verb::Attach(Lazy(args)) => attach::run(*args, root),
        Verb::Commit(Lazy(args)) => commit::run(*args, root),
        Verb::Cp(Lazy(args)) => cp::run(&args, root),
        Verb::Diff(Lazy(args)) => diff::run(&args, root),
        Verb::Export(Lazy(args)) => export::run(&args, root),
        Verb::Create(Lazy(args)) => create::run(*args, root),
        Verb::Exec(Lazy(args)) => exec::run(*args, root),
        Verb::Inspect(Lazy(args)) => inspect::run((*args).into(), root),
        Verb::Kill(Lazy(args)) => kill::run(&args, root),
        Verb::Logs(Lazy(args)) => logs::run(&args, root),
        Verb::Ls(Lazy(args)) => ps::run(*args, root),
        Verb::Pause(Lazy(args)) => pause::pause(&args, root),
        Verb::Port(Lazy(args)) => port::run(&args, root),
        Verb::Prune(Lazy(args)) => prune::container::run(&args, root),
        Verb::Rename(Lazy(args)) => rename::run(*args, root),
        Verb::Restart(Lazy(args)) => restart::run(&args, root),
        Verb::Rm(Lazy(args)) => rm::run(&args, root),
        Verb::Run(Lazy(args)) => run::run(*args, root),
        Verb::Start(Lazy(args)) => start::run(*args, root),
        Verb::Stats(Lazy(args)) => stats::run(&args, root),
        Verb::Stop(Lazy(args)) => stop::run(&args, root),
        Verb::Top(Lazy(args)) => top::run(&args, root),
        Verb::Unpause(Lazy(args)) => pause::unpause(&args, root),
        Verb::Update(Lazy(args)) => update::run(&args, root),
        Verb::Wait(Lazy(args)) => wait::run(&args, root),
    }
}
