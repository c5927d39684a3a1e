//! `moat rename`.

use std::process::ExitCode;

use moat_engine::Engine;
use moat_engine::Root;

/// Give a container another name
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat rename web old-web")]
pub struct Args {
    /// Name, id, or the beginning of an id
    container: String,
    /// The new name
    name: String,
}

/// Renames a container, whether it runs or not.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    engine.rename(&container, &args.name)?;
    Ok(ExitCode::SUCCESS)
}
