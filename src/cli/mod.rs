//! Command lines in, text out: one verb per file.

mod attach;
mod completion;
mod doctor;
mod human;
mod image_inspect;
mod images;
mod info;
mod load;
mod logs;
mod monitor;
mod ps;
mod rm;
mod rmi;
mod run;
mod table;
mod template;
mod terminal;
mod version;

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
  moat load -i busybox.tar
  moat run --rm localhost/busybox echo hello
  moat run -it --rm localhost/busybox sh
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
    Run(run::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Rm(rm::Args),
    Load(load::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Image(ImageCommand),
    Info(info::Args),
    Version(version::Args),
    Doctor(doctor::Args),
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
    Load(load::Args),
    Rm(rmi::Args),
    Inspect(image_inspect::Args),
}

/// Parses the command line, does what it says, and answers with the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    let on_error = if matches!(cli.command, Command::Run(_)) { CANNOT_RUN } else { 1 };
    match dispatch(cli) {
        Ok(code) => code,
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("moat: {e:#}");
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
        Command::Run(args) => run::run(args, root),
        Command::Ps(args) => ps::run(args, root),
        Command::Logs(args) => logs::run(&args, root),
        Command::Rm(args) => rm::run(&args, root),
        Command::Load(args) => load::run(args, &root),
        Command::Images(args) => images::run(args, &root),
        Command::Rmi(args) => rmi::run(args, &root),
        Command::Image(ImageCommand { command }) => match command {
            ImageVerb::Ls(args) => images::run(args, &root),
            ImageVerb::Load(args) => load::run(args, &root),
            ImageVerb::Rm(args) => rmi::run(args, &root),
            ImageVerb::Inspect(args) => image_inspect::run(args, &root),
        },
        Command::Info(args) => info::run(&args, root),
        Command::Monitor(args) => monitor::run(&args, root),
        Command::Doctor(_) | Command::Version(_) | Command::Completion(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Prints what clap has to say. A mistake in `run` answers with Docker's code for it.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ if std::env::args()
            .skip(1)
            .find(|word| !word.starts_with('-'))
            .is_some_and(|verb| verb == "run") =>
        {
            ExitCode::from(CANNOT_RUN)
        }
        _ => ExitCode::FAILURE,
    }
}

/// Whether whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
