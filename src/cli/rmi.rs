//! `moat rmi`.

use std::process::ExitCode;

use moat::engine::state::Status;
use moat::engine::{Engine, EngineError, events};
use moat::root::Root;
use moat::store::{ImageUser, Removed};

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
        match remove(&engine, name, args.force) {
            Ok(removed) => removed.iter().for_each(report),
            Err(e) => {
                crate::cli::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<Removed>, EngineError> {
    let _still = engine.freeze()?;
    let mut image = None;
    let removed = engine.store().remove(name, force, |id| {
        image = Some(id.to_string());
        let containers = engine.users_of(&id.to_string())?;
        let users = containers.iter().map(|container| ImageUser {
            container: container.id().short().to_owned(),
            running: container.state.status == Status::Running,
        });
        Ok(users.collect::<Vec<_>>())
    });
    if let (Ok(removed), Some(image)) = (&removed, &image) {
        tell(engine.root(), image, removed);
    }
    removed
}

/// Tells the world what went of an image.
pub fn tell(root: &Root, image: &str, removed: &[Removed]) {
    for one in removed {
        match one {
            Removed::Untagged(_) => events::emit_image(root, "untag", image, image),
            Removed::Deleted(digest) if digest.to_string() == image => {
                events::emit_image(root, "delete", image, image);
            }
            // A layer.
            Removed::Deleted(_) => {}
        }
    }
}

/// Docker's words.
fn report(removed: &Removed) {
    match removed {
        Removed::Untagged(reference) => say!("Untagged: {}", reference.familiar()),
        Removed::Deleted(digest) => say!("Deleted: {digest}"),
    }
}
