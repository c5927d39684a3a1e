//! `moat network prune`.

use std::process::ExitCode;

use moat::engine::{Engine, events};
use moat::network::NetworkError;
use moat::root::Root;

use super::{PruneArgs, Selection};

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
    prune(&Engine::open(root)?, &selection)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes the networks that no container is on, and lists them.
pub fn prune(engine: &Engine, selection: &Selection) -> anyhow::Result<()> {
    let networks = engine.networks();
    let mut removed = Vec::new();
    for network in networks.list()? {
        if network.is_default() || !selection.takes(Some(network.created), &network.labels) {
            continue;
        }
        match networks.remove(&network) {
            Ok(()) => {
                events::emit_network(engine.root(), "destroy", &network.id, &network.name, None);
                removed.push(network.name);
            }
            Err(NetworkError::InUse { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if !removed.is_empty() {
        say!("Deleted Networks:");
        removed.iter().for_each(|name| say!("{name}"));
        say!("");
    }
    Ok(())
}
