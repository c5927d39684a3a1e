//! `moat attach`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::session::AttachOptions;

use super::detach_keys::{self, DetachKeys};
use super::session::{self, SessionOptions};
use super::terminal;

/// Connect this terminal to a container that runs
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat attach shell
  moat attach --no-stdin web

Ctrl-P Ctrl-Q leaves the terminal of a container that was started with -it, and the container goes on.")]
pub struct Args {
    /// Do not connect stdin
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the command
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// The keys that leave the container's terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Name, id, or the beginning of an id
    container: String,
}

/// Stays with a container until it ends or the user leaves.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    let tty = container.config.process.terminal;
    let attach = AttachOptions {
        stdin: !args.no_stdin,
        output: true,
        size: if tty { terminal::size() } else { None },
    };
    let options =
        SessionOptions { terminal: tty, signals: args.sig_proxy, detach_keys: args.detach_keys, only: None };
    let signals = session::block_signals(&options)?;
    let attached = engine.attach(&container, &attach)?;
    session::pass_signals_on(&attached, signals, &options)?;
    let end = session::carry(attached, &options)?;
    Ok(session::report(end, format_args!("start container {}", args.container)))
}
