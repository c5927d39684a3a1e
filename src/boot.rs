//! `moat boot`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;

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
    engine.boot(|container, started| match started {
        Ok(()) => say!("{}", container.config.name),
        Err(e) => {
            super::complain(super::explain(&e.into()));
            code = ExitCode::FAILURE;
        }
    })?;
    Ok(code)
}
