//! `moat logout`.

use std::process::ExitCode;

use moat_engine::login;

/// Log out from a registry
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat logout
  moat logout registry.example:5000")]
pub struct Args {
    /// HOST or HOST:PORT; docker.io when left out
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Forgets who we are there.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let registry = login::host(args.registry.as_deref());
    if login::logout(&registry)? {
        say!("Removing login credentials for {registry}");
    } else {
        say!("Not logged in to {registry}");
    }
    Ok(ExitCode::SUCCESS)
}
