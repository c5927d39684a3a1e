//! `moat update`.

use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::bail;
use moat_engine::Engine;
use moat_engine::ResourceUpdate;
use moat_engine::Root;
use moat_engine::restart::RestartPolicy;

use super::each::each;
use super::parse;
use super::quota_args::QuotaArgs;

/// Change what containers may use
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat update --cpus 0.5 web
  moat update --memory 256m --restart always web

Processor time and the number of processes change at once. A container that runs can be left with less
memory, but not get more than it was started with: stop it, update it and start it again.")]
pub struct Args {
    /// Memory, such as 256m or 2g
    #[arg(short, long, value_name = "SIZE", value_parser = parse::memory)]
    memory: Option<u32>,
    /// Processor time, such as 0.5 or 2
    #[arg(long, value_name = "NUMBER", value_parser = parse::cpus)]
    cpus: Option<u32>,
    #[command(flatten)]
    quota: QuotaArgs,
    /// How many processes it may have; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = parse::pids_limit, allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// When it starts again by itself: no, always, unless-stopped, on-failure[:N]
    #[arg(long, value_name = "POLICY")]
    restart: Option<RestartPolicy>,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Updates each container, whether it runs or not.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let quota = args.quota.milli_cpus()?;
    let update = ResourceUpdate {
        // As with Docker, 0 changes nothing.
        memory_mib: args.memory.filter(|&mib| mib > 0),
        milli_cpus: args.cpus.or(quota).and_then(NonZeroU32::new),
        pids_limit: args.pids_limit.map(|limit| u32::try_from(limit).unwrap_or(0)),
        restart: args.restart,
    };
    if update == ResourceUpdate::default() {
        bail!("nothing to update: give one or more of --memory, --cpus, --pids-limit and --restart");
    }
    let engine = Engine::open(root)?;
    Ok(each(&engine, &args.containers, |container| engine.update(container, update)))
}
