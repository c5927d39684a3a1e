//! `moat network rm`.

use std::process::ExitCode;

use moat_engine::{Engine, ErrorKind, Root};

/// Remove networks
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network rm shop
  moat network rm -f shop vault")]
pub struct Args {
    /// One that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Removes each and prints what was typed for it; goes on after an error.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.networks {
        match engine.remove_network(name) {
            Ok(()) => say!("{name}"),
            Err(e) if args.force && e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                crate::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
