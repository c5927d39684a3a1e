//! `moat network prune`.

use std::process::ExitCode;

use moat_engine::prune::PruneRequest;
use moat_engine::{Engine, Root};

use super::{PruneArgs, report};

/// Remove all networks that no running container is on
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network prune
  moat network prune -f --filter until=24h --filter label!=keep

The keys for --filter are until (created before then), label and label!.")]
pub struct Args {
    #[command(flatten)]
    prune: PruneArgs,
}

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.";

/// Asks, removes, and tells what is gone.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let selection = args.prune.selection("network", WARNING)?;
    let request = PruneRequest { networks: true, selection, ..PruneRequest::default() };
    report(&mut Engine::open(root)?.prune(&request))
}
