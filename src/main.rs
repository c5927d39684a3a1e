//! `moat`: command lines in, text out; one verb per file.

/// Prints a line. Unlike `println!` it does not panic when the reader has seen enough: nothing is left to do then.
macro_rules! say {
    ($($words:tt)*) => { $crate::print_line(format_args!($($words)*)) };
}

mod attach;
mod boot;
mod cidfile;
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
mod flags;
mod guest_args;
mod history;
mod image_tree;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod layer_progress;
mod lazy;
mod load;
mod login;
mod logout;
mod logs;
mod moment;
mod network;
mod network_args;
mod pause;
mod port;
mod progress;
mod prune;
mod ps;
mod pull;
mod push;
mod quota_args;
mod rate_args;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod session;
mod shown;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod terminal;
mod top;
mod update;
mod version;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lazy::Lazy;
use moat_docker::{filter, human, parse, template};
use moat_engine::{DEFAULT_ROOT, Root};

/// Docker's exit code for a `run` that failed before the container did.
const CANNOT_RUN: u8 = 125;

/// Run every container in its own KVM microVM.
#[derive(Parser)]
#[command(
    name = "moat",
    version,
    disable_version_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
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
    /// Docker's directory of client files, which has the logins [default: $DOCKER_CONFIG or ~/.docker]
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Print the version
    #[arg(short, long, short_alias = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Lazy<run::Args>),
    Create(Lazy<create::Args>),
    Start(Lazy<start::Args>),
    Stop(Lazy<stop::Args>),
    Restart(Lazy<restart::Args>),
    Kill(Lazy<kill::Args>),
    Pause(Lazy<pause::Args>),
    Unpause(Lazy<pause::UnpauseArgs>),
    Wait(Lazy<wait::Args>),
    Rm(Lazy<rm::Args>),
    Rename(Lazy<rename::Args>),
    Update(Lazy<update::Args>),
    Exec(Lazy<exec::Args>),
    Attach(Lazy<attach::Args>),
    Ps(Lazy<ps::Args>),
    Port(Lazy<port::Args>),
    Inspect(Lazy<inspect::Args>),
    Logs(Lazy<logs::Args>),
    Top(Lazy<top::Args>),
    Stats(Lazy<stats::Args>),
    Events(Lazy<events::Args>),
    Cp(Lazy<cp::Args>),
    Diff(Lazy<diff::Args>),
    Export(Lazy<export::Args>),
    Commit(Lazy<commit::Args>),
    Pull(Lazy<pull::Args>),
    Push(Lazy<push::Args>),
    Login(Lazy<login::Args>),
    Logout(Lazy<logout::Args>),
    Load(Lazy<load::Args>),
    Save(Lazy<save::Args>),
    Import(Lazy<import::Args>),
    Tag(Lazy<tag::Args>),
    History(Lazy<history::Args>),
    Images(Lazy<images::Args>),
    Rmi(Lazy<rmi::Args>),
    Image(Lazy<ImageCommand>),
    Container(Lazy<container::Args>),
    Network(Lazy<network::Args>),
    System(Lazy<system::Args>),
    Prune(Lazy<prune::system::Args>),
    Info(Lazy<info::Args>),
    Version(Lazy<version::Args>),
    Doctor(Lazy<doctor::Args>),
    Boot(Lazy<boot::Args>),
    Completion(Lazy<completion::Args>),
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
    Ls(Lazy<images::Args>),
    Pull(Lazy<pull::Args>),
    Push(Lazy<push::Args>),
    Load(Lazy<load::Args>),
    Save(Lazy<save::Args>),
    Import(Lazy<import::Args>),
    Tag(Lazy<tag::Args>),
    History(Lazy<history::Args>),
    #[command(visible_alias = "remove")]
    Rm(Lazy<rmi::Args>),
    Inspect(Lazy<inspect::ImageArgs>),
    Prune(Lazy<prune::image::Args>),
}

/// Parses the command line, does what it says, and answers with the exit code.
fn main() -> ExitCode {
    let cli = match flags::parse::<Cli>() {
        Ok(cli) => cli,
        Err(usage) => return usage.report(),
    };
    let on_error = match &cli.command {
        Command::Run(_) => CANNOT_RUN,
        Command::Container(Lazy(args)) if args.runs() => CANNOT_RUN,
        _ => 1,
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            complain(explain(&e));
            ExitCode::from(on_error)
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(directory) = cli.config {
        moat_engine::login::keep_in(directory);
    }
    // What a host lacks, and which version this is, can be told without a root directory.
    match cli.command {
        Command::Doctor(Lazy(args)) => return doctor::run(&args, &cli.root),
        Command::Version(Lazy(args)) => return version::run(&args),
        Command::Completion(Lazy(args)) => return completion::run(&args),
        Command::Login(Lazy(args)) => return login::run(&args),
        Command::Logout(Lazy(args)) => return logout::run(&args),
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
        Command::Run(Lazy(args)) => run::run(*args, root),
        Command::Create(Lazy(args)) => create::run(*args, root),
        Command::Start(Lazy(args)) => start::run(*args, root),
        Command::Stop(Lazy(args)) => stop::run(&args, root),
        Command::Restart(Lazy(args)) => restart::run(&args, root),
        Command::Kill(Lazy(args)) => kill::run(&args, root),
        Command::Pause(Lazy(args)) => pause::pause(&args, root),
        Command::Unpause(Lazy(args)) => pause::unpause(&args, root),
        Command::Wait(Lazy(args)) => wait::run(&args, root),
        Command::Rm(Lazy(args)) => rm::run(&args, root),
        Command::Rename(Lazy(args)) => rename::run(*args, root),
        Command::Update(Lazy(args)) => update::run(&args, root),
        Command::Exec(Lazy(args)) => exec::run(*args, root),
        Command::Attach(Lazy(args)) => attach::run(*args, root),
        Command::Ps(Lazy(args)) => ps::run(*args, root),
        Command::Port(Lazy(args)) => port::run(&args, root),
        Command::Inspect(Lazy(args)) => inspect::run(*args, root),
        Command::Logs(Lazy(args)) => logs::run(&args, root),
        Command::Top(Lazy(args)) => top::run(&args, root),
        Command::Stats(Lazy(args)) => stats::run(&args, root),
        Command::Events(Lazy(args)) => events::run(&args, &root),
        Command::Cp(Lazy(args)) => cp::run(&args, root),
        Command::Diff(Lazy(args)) => diff::run(&args, root),
        Command::Export(Lazy(args)) => export::run(&args, root),
        Command::Commit(Lazy(args)) => commit::run(*args, root),
        Command::Pull(Lazy(args)) => pull::run(&args, &root),
        Command::Push(Lazy(args)) => push::run(&args, &root),
        Command::Load(Lazy(args)) => load::run(*args, &root),
        Command::Save(Lazy(args)) => save::run(&args, &root),
        Command::Import(Lazy(args)) => import::run(*args, &root),
        Command::Tag(Lazy(args)) => tag::run(&args, &root),
        Command::History(Lazy(args)) => history::run(&args, &root),
        Command::Images(Lazy(args)) => images::run(*args, &root),
        Command::Rmi(Lazy(args)) => rmi::run(*args, &root),
        Command::Image(Lazy(image)) => match image.command {
            ImageVerb::Ls(Lazy(args)) => images::run(*args, &root),
            ImageVerb::Pull(Lazy(args)) => pull::run(&args, &root),
            ImageVerb::Push(Lazy(args)) => push::run(&args, &root),
            ImageVerb::Load(Lazy(args)) => load::run(*args, &root),
            ImageVerb::Save(Lazy(args)) => save::run(&args, &root),
            ImageVerb::Import(Lazy(args)) => import::run(*args, &root),
            ImageVerb::Tag(Lazy(args)) => tag::run(&args, &root),
            ImageVerb::History(Lazy(args)) => history::run(&args, &root),
            ImageVerb::Rm(Lazy(args)) => rmi::run(*args, &root),
            ImageVerb::Inspect(Lazy(args)) => inspect::run((*args).into(), root),
            ImageVerb::Prune(Lazy(args)) => prune::image::run(&args, root),
        },
        Command::Container(Lazy(args)) => container::run(*args, root),
        Command::Network(Lazy(args)) => network::run(*args, root),
        Command::System(Lazy(args)) => system::run(*args, root),
        Command::Prune(Lazy(args)) => prune::system::run(&args, root),
        Command::Info(Lazy(args)) => info::run(&args, root),
        Command::Boot(Lazy(args)) => boot::run(&args, root),
        Command::Doctor(_)
        | Command::Version(_)
        | Command::Completion(_)
        | Command::Login(_)
        | Command::Logout(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Whether the reader of our output has closed it.
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

/// Tells the user that something went wrong. Guests, images and registries choose some of the words.
fn complain(what: impl std::fmt::Display) {
    eprintln!("moat: {}", human::harmless(&what.to_string()));
}

/// Behind `say!`.
fn print_line(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if let Err(e) = writeln!(std::io::stdout().lock(), "{line}") {
        let code = if e.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { 1 };
        std::process::exit(code);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Every verb says what it does, and how it is used, with an example.
    #[test]
    fn every_verb_explains_itself() {
        fn check(command: &mut clap::Command, seen: &mut usize) {
            let parents = command.has_subcommands();
            for verb in command.get_subcommands_mut().filter(|verb| !verb.is_hide_set()) {
                if verb.get_name() == "help" {
                    continue;
                }
                let name = verb.get_bin_name().unwrap_or_default().to_owned();
                assert!(verb.get_about().is_some(), "{name}");
                let help = verb.render_long_help().to_string();
                assert!(help.contains("Usage: moat "), "{name}: {help}");
                assert!(verb.has_subcommands() || help.contains("Examples:\n  moat "), "{name}: {help}");
                check(verb, seen);
            }
            *seen += usize::from(!parents);
        }
        let mut command = Cli::command();
        command.build();
        let mut seen = 0;
        check(&mut command, &mut seen);
        assert!(seen > 50, "{seen} verbs");
    }
}
