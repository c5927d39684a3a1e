//! `moat network rm`.

use std::process::ExitCode;

use moat::engine::{Engine, events};
use moat::network::NetworkError;
use moat::root::Root;

use super::none;

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
        match remove(&engine, name) {
            Ok(()) => say!("{name}"),
            Err(NetworkError::NotFound(_)) if args.force => {}
            Err(e) => {
                crate::cli::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn remove(engine: &Engine, name: &str) -> Result<(), NetworkError> {
    if name == none::NAME {
        return Err(NetworkError::Predefined(name.to_owned()));
    }
    let network = engine.networks().find(name)?;
    engine.networks().remove(&network)?;
    events::emit_network(engine.root(), "destroy", &network.id, &network.name, None);
    Ok(())
}
