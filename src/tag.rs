//! `moat tag`.

use std::process::ExitCode;

use moat_engine::image::Reference;
use moat_engine::{Engine, Root};

/// Give an image one more name
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat tag localhost/web localhost/web:1.0
  moat tag 1a2b3c4d5e6f registry.example.com/team/web")]
pub struct Args {
    /// Name, id, or the beginning of an id
    #[arg(value_name = "IMAGE")]
    source: String,
    /// The new name
    #[arg(value_name = "NAME[:TAG]")]
    target: Reference,
}

/// Gives the name, which another image may lose by that.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    Engine::open(root.clone())?.tag(&args.source, &args.target)?;
    Ok(ExitCode::SUCCESS)
}
