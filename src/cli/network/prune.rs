//! `moat network prune`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use moat::engine::Engine;
use moat::network::NetworkError;
use moat::root::Root;

use crate::cli::filter::{Filters, has_label};
use crate::cli::prune::{confirm, until};

/// Remove all networks that no running container is on
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network prune
  moat network prune -f --filter until=24h --filter label!=keep

The keys for --filter are until (created before then), label and label!.")]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with KEY=VALUE
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

const KEYS: [&str; 3] = ["until", "label", "label!"];

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.";

/// Asks, removes, and tells what is gone.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter, &KEYS)?;
    let until = until(&filters)?;
    if !args.force && !confirm(WARNING)? {
        bail!("network prune has been cancelled");
    }
    prune(&Engine::open(root)?, &filters, until)?;
    Ok(ExitCode::SUCCESS)
}

/// Removes the networks that no container is on, and lists them.
pub fn prune(engine: &Engine, filters: &Filters, until: Option<Timestamp>) -> anyhow::Result<()> {
    let networks = engine.networks();
    let mut removed = Vec::new();
    for network in networks.list()?.into_iter().filter(|network| !network.is_default()) {
        let wanted = until.is_none_or(|until| network.created < until)
            && filters.labels("label", &network.labels)
            && !filters.values("label!").iter().any(|unwanted| has_label(unwanted, &network.labels));
        if !wanted {
            continue;
        }
        match networks.remove(&network) {
            Ok(()) => removed.push(network.name),
            Err(NetworkError::InUse { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let mut output = io::stdout().lock();
    if !removed.is_empty() {
        writeln!(output, "Deleted Networks:")?;
        removed.iter().try_for_each(|name| writeln!(output, "{name}"))?;
        writeln!(output)?;
    }
    Ok(())
}
