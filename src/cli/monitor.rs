//! `moat monitor`: the process that `moat run` starts for each container. Not for people.

use std::process::ExitCode;

use moat::engine::id::ContainerId;
use moat::engine::{Engine, MonitorStart, Purpose};
use moat::root::Root;

/// Watch over one container (started by moat itself)
#[derive(clap::Args)]
pub struct Args {
    id: ContainerId,
    #[arg(long)]
    lock: i32,
    #[arg(long)]
    listener: i32,
    #[arg(long)]
    client: i32,
    #[arg(long, value_enum, default_value = "run")]
    purpose: Purpose,
    #[arg(long)]
    debug_console: bool,
}

/// Runs the monitor until its container has ended.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let engine = Engine::open(root)?;
    let start = MonitorStart {
        lock: args.lock,
        listener: args.listener,
        client: args.client,
        purpose: args.purpose,
        debug_console: args.debug_console,
    };
    moat::monitor::run(engine, &args.id, &start)?;
    Ok(ExitCode::SUCCESS)
}
