//! `moat boot`.

use std::process::ExitCode;

use moat::engine::Engine;
use moat::root::Root;

use super::start;

/// Start the containers whose restart policy says so, after the host has booted
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat boot

The systemd unit moat.service runs this once at boot.")]
pub struct Args {}

/// Starts what was running when the host went down, as far as the policies want it; goes on after an error.
pub fn run(_: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let mut code = ExitCode::SUCCESS;
    // The oldest first: what came later may count on it.
    for container in engine.containers()?.into_iter().rev() {
        let started = container.state.started.is_some() && !container.state.status.is_live();
        if !started || !container.config.restart.starts_at_boot(container.state.stopped_by_user) {
            continue;
        }
        match start::start(&engine, &container) {
            Ok(()) => say!("{}", container.config.name),
            Err(e) => {
                super::complain(super::explain(&e));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
