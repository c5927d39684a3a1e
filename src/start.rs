//! `moat start`.

use std::process::ExitCode;

use anyhow::bail;
use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::session::AttachOptions;

use super::detach_keys::{self, DetachKeys};
use super::each::each;
use super::session::{self, SessionOptions};
use super::terminal;

/// Start containers that do not run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat start web
  moat start -ai shell")]
pub struct Args {
    /// Connect its output, and wait for its end
    #[arg(short, long)]
    attach: bool,
    /// Connect its stdin as well
    #[arg(short, long)]
    interactive: bool,
    /// The keys that leave the container's terminal
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Starts each container; with `-a` one, and stays with it, also when it ran already.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    if !args.attach && !args.interactive {
        return Ok(each(&engine, &args.containers, |container| engine.start(container)));
    }
    let [wanted] = args.containers.as_slice() else {
        bail!("you cannot start and attach multiple containers at once");
    };
    let container = engine.find(wanted)?;
    let tty = container.config.process.terminal;
    let attach = AttachOptions {
        stdin: args.interactive,
        output: true,
        size: if tty { terminal::size() } else { None },
    };
    let options = SessionOptions { terminal: tty, signals: true, detach_keys: args.detach_keys, only: None };
    let signals = session::block_signals(&options)?;
    let attached = engine.start_attached(&container, &attach)?;
    session::pass_signals_on(&attached, signals, &options)?;
    let end = session::carry(attached, &options)?;
    Ok(session::report(end, format_args!("start container {wanted}")))
}
