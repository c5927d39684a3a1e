//! `moat exec`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::exec::ExecRequest;
use moat_engine::session::End;

use super::container_args::variables;
use super::detach_keys::{self, DetachKeys};
use super::session::{self, SessionOptions};
use super::terminal;

/// Run a command in a container that runs
#[derive(clap::Args)]
#[command(
    override_usage = "moat exec [OPTIONS] CONTAINER COMMAND [ARG]...",
    after_help = "Examples:
  moat exec web ps aux
  moat exec -it web bash
  moat exec -d -u www-data -e MODE=fast web /usr/bin/job

The exit code is the command's own; 126 means that it cannot be executed and 127 that it was not found."
)]
pub struct Args {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Connect stdin
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable; NAME alone takes its value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// User, by name or number [default: the container's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory [default: the container's]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Let it do everything inside the virtual machine
    #[arg(long)]
    privileged: bool,
    /// The keys that leave the command's terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Name, id, or the beginning of an id of the container; then the command and its arguments
    // One list: after the container nothing is a flag of ours.
    #[arg(value_name = "CONTAINER COMMAND", required = true, trailing_var_arg = true)]
    container_and_command: Vec<String>,
}

/// Docker's exit code for a command that cannot be executed.
const CANNOT_EXECUTE: u8 = 126;

/// Runs a command to its end, or starts it in the background.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    if args.tty && args.interactive && !args.detach && !terminal::stdin_is_terminal() {
        bail!("the input device is not a TTY");
    }
    let engine = Engine::open(root)?;
    let mut words = args.container_and_command.into_iter();
    let wanted = words.next().unwrap_or_default();
    let command: Vec<String> = words.collect();
    if command.is_empty() {
        bail!("exec needs a command after the container: moat exec {wanted} COMMAND [ARG]...");
    }
    let container = engine.find(&wanted)?;
    let process = ExecRequest {
        args: command,
        env: variables(&args.env_file, args.env)?,
        working_dir: args.workdir,
        user: args.user,
        terminal: args.tty,
        stdin: args.interactive && !args.detach,
        output: !args.detach,
        privileged: args.privileged,
    };
    let size = if args.tty && !args.detach { terminal::size() } else { None };
    // As with Docker, an interrupt ends this command and not the one in the container.
    let options =
        SessionOptions { terminal: args.tty, signals: false, detach_keys: args.detach_keys, only: None };
    let signals = session::block_signals(&options)?;
    let attached = engine.exec(&container, process, size)?;
    session::pass_signals_on(&attached, signals, &options)?;
    let end = if args.detach {
        attached.started()?.unwrap_or(End::Detached)
    } else {
        session::carry(attached, &options)?
    };
    let end = match end {
        // Docker's exec has no code of its own for a bad user or directory.
        End::Failed { code, message } => End::Failed { code: code.max(CANNOT_EXECUTE), message },
        other => other,
    };
    Ok(session::report(end, format_args!("run the command in container {wanted}")))
}
