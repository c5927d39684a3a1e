//! `moat system prune`.

use std::process::ExitCode;

use moat_engine::prune::PruneRequest;
use moat_engine::{Engine, Root};

use super::{PruneArgs, image, report_with_space};

/// Remove what is not in use: stopped containers, unused networks, images without a name, what interrupted pulls left
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat system prune
  moat system prune -af --filter until=24h

The keys for --filter are until (created before then), label and label!.")]
pub struct Args {
    /// Also images that have a name, unless a container was made from them
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    prune: PruneArgs,
}

/// Asks, removes, and tells what that gave back.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let images = image::in_words(args.all);
    let warning = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - {images}\n  - what interrupted pulls left\n"
    );
    let selection = args.prune.selection("system", &warning)?;
    let request =
        PruneRequest { containers: true, networks: true, images: Some(image::which(args.all)), selection };
    report_with_space(Engine::open(root)?.prune(&request))
}
