//! `moat rename`.

use std::process::ExitCode;

use moat::engine::Engine;
use moat::engine::state::Verb;
use moat::monitor::wire::ClientMessage;
use moat::root::Root;

use super::each::{Answered, ask};

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
    let request = ClientMessage::Rename { name: args.name.clone() };
    if let Answered::Idle(container) = ask(&engine, &container, Verb::Rename, &request)? {
        engine.rename(&container, &args.name)?;
    }
    Ok(ExitCode::SUCCESS)
}
