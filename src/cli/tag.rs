//! `moat tag`.

use std::process::ExitCode;

use anyhow::bail;
use moat::engine::events;
use moat::root::Root;
use moat::store::{ImageStore, Reference};

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
    if args.target.digest().is_some() {
        bail!("refusing to create a tag with a digest reference");
    }
    let store = ImageStore::open(root)?;
    store.tag(&args.source, &args.target)?;
    let name = args.target.familiar();
    let id = store.resolve(&name).map_or_else(|_| name.clone(), |image| image.id.to_string());
    events::emit_image(root, "tag", &id, &name);
    Ok(ExitCode::SUCCESS)
}
