//! `moat network rm`.

use std::process::ExitCode;

use moat::engine::Engine;
use moat::network::NetworkError;
use moat::root::Root;

use super::none;

/// Remove networks
#[derive(clap::Args)]
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
    let networks = Engine::open(root)?.networks();
    let mut code = ExitCode::SUCCESS;
    for name in &args.networks {
        let remove = || match name.as_str() {
            none::NAME => Err(NetworkError::Predefined(name.clone())),
            name => networks.find(name).and_then(|network| networks.remove(&network)),
        };
        match remove() {
            Ok(()) => say!("{name}"),
            Err(NetworkError::NotFound(_)) if args.force => {}
            Err(e) => {
                eprintln!("moat: {e}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
