//! Command lines in, text out: one verb per file.

/// Prints a line. Unlike `println!` it does not panic when the reader has seen enough: nothing is left to do then.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::print_line(format_args!($($words)*)) };
}

mod attach;
mod boot;
mod commit;
mod completion;
mod container;
mod container_args;
mod cp;
mod create;
mod detach_keys;
mod diff;
mod doctor;
mod each;
mod events;
mod exec;
mod export;
mod filter;
mod history;
mod human;
mod image_tree;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod layer_progress;
mod load;
mod login;
mod logout;
mod logs;
mod moment;
mod monitor;
mod network;
mod network_args;
mod parse;
mod pause;
mod port;
mod ports;
mod prune;
mod ps;
mod pull;
mod push;
mod rate_args;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod session;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod template;
mod terminal;
#[cfg(test)]
mod testing;
mod top;
mod update;
mod version;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use moat::root::{DEFAULT_ROOT, Root};

/// Docker's exit code for a `run` that failed before the container did.
const CANNOT_RUN: u8 = 125;

/// Run every container in its own KVM microVM.
#[derive(Parser)]
#[command(name = "moat", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "Examples:
  moat pull busybox
  moat run --rm busybox echo hello
  moat run -it --rm busybox sh
  moat doctor

'moat COMMAND --help' tells more about a command.")]
struct Cli {
    /// Where Moat keeps images and containers
    #[arg(long, global = true, env = "MOAT_ROOT", default_value = DEFAULT_ROOT, value_name = "DIR")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Create(Box<create::Args>),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Kill(kill::Args),
    Pause(pause::Args),
    Unpause(pause::UnpauseArgs),
    Wait(wait::Args),
    Rm(rm::Args),
    Rename(rename::Args),
    Update(update::Args),
    Exec(exec::Args),
    Attach(attach::Args),
    Ps(ps::Args),
    Port(port::Args),
    Inspect(inspect::Args),
    Logs(logs::Args),
    Top(top::Args),
    Stats(stats::Args),
    Events(events::Args),
    Cp(cp::Args),
    Diff(diff::Args),
    Export(export::Args),
    Commit(commit::Args),
    Pull(pull::Args),
    Push(push::Args),
    Login(login::Args),
    Logout(logout::Args),
    Load(load::Args),
    Save(save::Args),
    Import(import::Args),
    Tag(tag::Args),
    History(history::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Image(ImageCommand),
    Container(container::Args),
    Network(network::Args),
    System(system::Args),
    Info(info::Args),
    Version(version::Args),
    Doctor(doctor::Args),
    Boot(boot::Args),
    Completion(completion::Args),
    #[command(hide = true)]
    Monitor(monitor::Args),
}

/// Manage images
#[derive(clap::Args)]
struct ImageCommand {
    #[command(subcommand)]
    command: ImageVerb,
}

#[derive(Subcommand)]
enum ImageVerb {
    #[command(visible_alias = "list")]
    Ls(images::Args),
    Pull(pull::Args),
    Push(push::Args),
    Load(load::Args),
    Save(save::Args),
    Import(import::Args),
    Tag(tag::Args),
    History(history::Args),
    Rm(rmi::Args),
    Inspect(inspect::ImageArgs),
    Prune(prune::image::Args),
}

/// Parses the command line, does what it says, and answers with the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    let on_error = match &cli.command {
        Command::Run(_) => CANNOT_RUN,
        Command::Container(args) if args.runs() => CANNOT_RUN,
        _ => 1,
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("moat: {}", explain(&e));
            ExitCode::from(on_error)
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    // What a host lacks, and which version this is, can be told without a root directory.
    match cli.command {
        Command::Doctor(args) => return doctor::run(&args, &cli.root),
        Command::Version(args) => return version::run(&args),
        Command::Completion(args) => return completion::run(&args),
        Command::Login(args) => return login::run(&args),
        Command::Logout(args) => return logout::run(&args),
        _ => {}
    }
    let root = Root::open(&cli.root).map_err(|e| {
        let hint = if e.kind() == std::io::ErrorKind::PermissionDenied {
            "; run as root, or choose a directory of your own with --root"
        } else {
            ""
        };
        anyhow::anyhow!("cannot use {} as the root directory: {e}{hint}", cli.root.display())
    })?;
    match cli.command {
        Command::Run(args) => run::run(*args, root),
        Command::Create(args) => create::run(*args, root),
        Command::Start(args) => start::run(args, root),
        Command::Stop(args) => stop::run(&args, root),
        Command::Restart(args) => restart::run(&args, root),
        Command::Kill(args) => kill::run(&args, root),
        Command::Pause(args) => pause::pause(&args, root),
        Command::Unpause(args) => pause::unpause(&args, root),
        Command::Wait(args) => wait::run(&args, root),
        Command::Rm(args) => rm::run(&args, root),
        Command::Rename(args) => rename::run(args, root),
        Command::Update(args) => update::run(&args, root),
        Command::Exec(args) => exec::run(args, root),
        Command::Attach(args) => attach::run(args, root),
        Command::Ps(args) => ps::run(args, root),
        Command::Port(args) => port::run(&args, root),
        Command::Inspect(args) => inspect::run(args, root),
        Command::Logs(args) => logs::run(&args, root),
        Command::Top(args) => top::run(&args, root),
        Command::Stats(args) => stats::run(&args, root),
        Command::Events(args) => events::run(&args, &root),
        Command::Cp(args) => cp::run(&args, root),
        Command::Diff(args) => diff::run(&args, root),
        Command::Export(args) => export::run(&args, root),
        Command::Commit(args) => commit::run(args, root),
        Command::Pull(args) => pull::run(&args, &root),
        Command::Push(args) => push::run(&args, &root),
        Command::Load(args) => load::run(args, &root),
        Command::Save(args) => save::run(&args, &root),
        Command::Import(args) => import::run(args, &root),
        Command::Tag(args) => tag::run(&args, &root),
        Command::History(args) => history::run(&args, &root),
        Command::Images(args) => images::run(args, &root),
        Command::Rmi(args) => rmi::run(args, &root),
        Command::Image(ImageCommand { command }) => match command {
            ImageVerb::Ls(args) => images::run(args, &root),
            ImageVerb::Pull(args) => pull::run(&args, &root),
            ImageVerb::Push(args) => push::run(&args, &root),
            ImageVerb::Load(args) => load::run(args, &root),
            ImageVerb::Save(args) => save::run(&args, &root),
            ImageVerb::Import(args) => import::run(args, &root),
            ImageVerb::Tag(args) => tag::run(&args, &root),
            ImageVerb::History(args) => history::run(&args, &root),
            ImageVerb::Rm(args) => rmi::run(args, &root),
            ImageVerb::Inspect(args) => inspect::run(args.into(), root),
            ImageVerb::Prune(args) => prune::image::run(&args, root),
        },
        Command::Container(args) => container::run(args, root),
        Command::Network(args) => network::run(args, root),
        Command::System(args) => system::run(args, root),
        Command::Info(args) => info::run(&args, root),
        Command::Boot(args) => boot::run(&args, root),
        Command::Monitor(args) => monitor::run(&args, root),
        Command::Doctor(_)
        | Command::Version(_)
        | Command::Completion(_)
        | Command::Login(_)
        | Command::Logout(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Prints what clap has to say. A mistake in `run` answers with Docker's code for it.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ if is_run(std::env::args().skip(1)) => ExitCode::from(CANNOT_RUN),
        _ => ExitCode::FAILURE,
    }
}

/// Whether these words are those of `run` or `container run`.
fn is_run(words: impl Iterator<Item = String>) -> bool {
    let mut verbs = words.filter(|word| !word.starts_with('-')).skip_while(|word| word == "container");
    verbs.next().is_some_and(|verb| verb == "run")
}

/// Whether whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// An error with its causes. Many errors tell their cause themselves; then it is not told twice.
fn explain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        told if told.ends_with(&cause) => told.to_owned(),
        told => format!("{told}: {cause}"),
    })
}

/// Behind `say!`.
fn print_line(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if let Err(e) = writeln!(std::io::stdout().lock(), "{line}") {
        let code = if e.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { 1 };
        std::process::exit(code);
    }
}
