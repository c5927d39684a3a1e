//! `moat wait`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;

/// Wait until containers have ended, and print their exit codes
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat wait job")]
pub struct Args {
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Prints each container's exit code as soon as there is one.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let mut exit = ExitCode::SUCCESS;
    for wanted in &args.containers {
        match engine.find(wanted).and_then(|container| engine.wait(&container)) {
            Ok(code) => say!("{code}"),
            Err(e) => {
                super::complain(super::explain(&e.into()));
                exit = ExitCode::FAILURE;
            }
        }
    }
    Ok(exit)
}
