//! `moat rmi`.

use std::process::ExitCode;

use moat_engine::image::Removed;
use moat_engine::{Engine, Root};

/// Remove images
///
/// A name goes by itself as long as the image has others; with its last name the image goes. An image that a container
/// was made from stays until the container is removed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat rmi nginx:latest
  moat rmi 1a2b3c4d5e6f
  moat rmi $(moat images -q)")]
pub struct Args {
    /// Also take names away from images that containers use, and from images with names in several repositories
    #[arg(short, long)]
    force: bool,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes each image and prints what went; goes on after an error.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root.clone())?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.images {
        match engine.remove_image(name, args.force) {
            Ok(removed) => removed.iter().for_each(report),
            Err(e) => {
                crate::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Docker's words.
fn report(removed: &Removed) {
    match removed {
        Removed::Untagged(reference) => say!("Untagged: {}", reference.familiar()),
        Removed::Deleted(digest) => say!("Deleted: {digest}"),
    }
}
