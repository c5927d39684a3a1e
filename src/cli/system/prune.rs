//! `moat system prune`.

use std::process::ExitCode;

use anyhow::bail;
use moat::engine::Engine;
use moat::root::Root;

use crate::cli::filter::Filters;
use crate::cli::prune::{confirm, until};
use crate::cli::{human, image_prune, network, prune};

/// Remove what nobody needs: stopped containers, unused networks, images without a name, what interrupted pulls left
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat system prune
  moat system prune -af --filter until=24h

The keys for --filter are until (created before then), label and label!.")]
pub struct Args {
    /// Also images that have a name, unless a container was made from them
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with KEY=VALUE
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

/// Asks, removes, and tells what that gave back.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter, &image_prune::KEYS)?;
    let until = until(&filters)?;
    let images = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let warning = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - {images}\n  - what interrupted pulls left\n"
    );
    if !args.force && !confirm(&warning)? {
        bail!("system prune has been cancelled");
    }
    let engine = Engine::open(root)?;
    let (containers, first) = prune::prune(&engine, &filters, until)?;
    network::prune::prune(&engine, &filters, until)?;
    let (images, second) = image_prune::prune(&engine, args.all, &filters, until)?;
    say!("Total reclaimed space: {}", human::reclaimed(containers + images));
    Ok(if first == ExitCode::SUCCESS { second } else { first })
}
