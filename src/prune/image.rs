//! `moat image prune`.

use std::process::ExitCode;

use moat_engine::prune::{PruneRequest, UnusedImages};
use moat_engine::{Engine, Root};

use super::{PruneArgs, report_with_space};

/// Remove unused images
///
/// Without -a those that have no name; with -a all that no container was made from. What interrupted pulls left is
/// removed too.
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
    let request = PruneRequest { images: Some(which(args.all)), selection, ..PruneRequest::default() };
    report_with_space(Engine::open(root)?.prune(&request))
}

/// What `--all` means.
pub fn which(all: bool) -> UnusedImages {
    if all { UnusedImages::All } else { UnusedImages::Dangling }
}

/// What is removed, for the question whether it may be.
pub fn in_words(all: bool) -> &'static str {
    if all { "all images without at least one container associated to them" } else { "all dangling images" }
}
