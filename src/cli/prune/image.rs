//! `moat image prune`.

use std::process::ExitCode;

use moat::engine::{Engine, EngineError};
use moat::root::Root;
use moat::store::{Image, Removed, StoreError};

use super::{PruneArgs, Selection};
use crate::cli::human;
use crate::cli::rmi::tell;

/// Remove images that nobody needs
///
/// Without -a those that have no name; with -a all that no container was made from. What interrupted pulls left goes too.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat image prune
  moat image prune -af --filter until=240h --filter label!=keep

The keys for --filter are until (created before then), label and label!.")]
pub struct Args {
    /// Also images that have a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

/// Asks, removes, and tells what that gave back.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let warning = format!("WARNING! This will remove {}.", in_words(args.all));
    let selection = args.prune.selection("image", &warning)?;
    let (reclaimed, code) = prune(&Engine::open(root)?, args.all, &selection)?;
    say!("Total reclaimed space: {}", human::reclaimed(reclaimed));
    Ok(code)
}

/// What goes, to people who are asked whether it may.
pub fn in_words(all: bool) -> &'static str {
    if all { "all images without at least one container associated to them" } else { "all dangling images" }
}

/// Removes images, lists them, and tells how many bytes that gave back.
pub fn prune(engine: &Engine, all: bool, selection: &Selection) -> anyhow::Result<(u64, ExitCode)> {
    let store = engine.store();
    let before = store.usage()?.total;
    let (mut removed, mut code) = (Vec::new(), ExitCode::SUCCESS);
    let _still = engine.freeze()?;
    for image in store.list()? {
        if (!all && !image.references.is_empty()) || !may_go(&image, selection) {
            continue;
        }
        let used = |id: &moat::store::ImageId| -> Result<_, EngineError> {
            let users = engine.users_of(&id.to_string())?;
            let conflict = || {
                let reason = "it is used by a container".to_owned();
                StoreError::Conflict { image: id.short(), forcible: false, reason }
            };
            if users.is_empty() { Ok(Vec::new()) } else { Err(conflict().into()) }
        };
        match store.remove(&image.id.to_string(), true, used) {
            Ok(gone) => {
                tell(engine.root(), &image.id.to_string(), &gone);
                removed.extend(gone);
            }
            // In use, or gone by somebody else's hand.
            Err(EngineError::Store(StoreError::Conflict { .. } | StoreError::NoSuchImage(_))) => {}
            Err(e) => {
                crate::cli::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    if !removed.is_empty() {
        say!("Deleted Images:");
        for one in &removed {
            match one {
                Removed::Untagged(name) => say!("untagged: {}", name.familiar()),
                Removed::Deleted(digest) => say!("deleted: {digest}"),
            }
        }
        say!("");
    }
    let abandoned = store.remove_abandoned()?;
    Ok((before.saturating_sub(store.usage()?.total) + abandoned, code))
}

fn may_go(image: &Image, selection: &Selection) -> bool {
    let labels = image.config.labels_of_config().cloned().unwrap_or_default();
    selection.takes(image.created(), &labels.into_iter().collect())
}
