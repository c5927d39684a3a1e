//! `moat container prune`.

use std::process::ExitCode;

use moat_engine::prune::PruneRequest;
use moat_engine::{Engine, Root};

use super::{PruneArgs, report_with_space};

/// Remove all containers that do not run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat container prune
  moat container prune -f --filter until=24h --filter label!=keep

The keys for --filter are until (created before then), label and label!.")]
pub struct Args {
    #[command(flatten)]
    prune: PruneArgs,
}

const WARNING: &str = "WARNING! This will remove all stopped containers.";

/// Asks, removes, and tells what that gave back.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let selection = args.prune.selection("container", WARNING)?;
    let request = PruneRequest { containers: true, selection, ..PruneRequest::default() };
    report_with_space(Engine::open(root)?.prune(&request))
}
