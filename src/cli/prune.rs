//! `moat container prune`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use moat::engine::container::Container;
use moat::engine::{Engine, EngineError};
use moat::root::Root;

use super::filter::{Filters, has_label};
use super::{human, moment};

/// Remove all containers that do not run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat container prune
  moat container prune -f --filter until=24h --filter label!=keep

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

const WARNING: &str = "WARNING! This will remove all stopped containers.";

/// Asks, removes, and tells what that gave back.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter, &KEYS)?;
    let until = until(&filters)?;
    if !args.force && !confirm(WARNING)? {
        bail!("container prune has been cancelled");
    }
    let (reclaimed, code) = prune(&Engine::open(root)?, &filters, until)?;
    say!("Total reclaimed space: {}", human::reclaimed(reclaimed));
    Ok(code)
}

/// The earliest of the moments in `until` filters.
pub fn until(filters: &Filters) -> anyhow::Result<Option<Timestamp>> {
    let until = filters.values("until").iter().map(|text| {
        moment::parse_moment(text).map_err(|e| anyhow::anyhow!("invalid filter 'until={text}': {e}"))
    });
    Ok(until.collect::<anyhow::Result<Vec<Timestamp>>>()?.into_iter().min())
}

/// Removes the containers that do not run, lists them, and tells how many bytes that gave back.
pub fn prune(
    engine: &Engine,
    filters: &Filters,
    until: Option<Timestamp>,
) -> anyhow::Result<(u64, ExitCode)> {
    let mut containers = engine.containers()?;
    containers.retain(|container| is_wanted(container, filters, until));
    let (mut removed, mut reclaimed, mut code) = (Vec::new(), 0, ExitCode::SUCCESS);
    for container in &containers {
        let written = engine.written(container);
        match engine.remove(container, false) {
            Ok(()) => {
                removed.push(container.id());
                reclaimed += written;
            }
            // Started or taken by somebody else meanwhile: that one is not for pruning any more.
            Err(EngineError::Illegal { .. } | EngineError::Busy(_) | EngineError::NotFound(_)) => {}
            Err(e) => {
                eprintln!("moat: {e}");
                code = ExitCode::FAILURE;
            }
        }
    }
    if !removed.is_empty() {
        say!("Deleted Containers:");
        removed.iter().for_each(|id| say!("{id}"));
        say!("");
    }
    Ok((reclaimed, code))
}

fn is_wanted(container: &Container, filters: &Filters, until: Option<Timestamp>) -> bool {
    let labels = &container.config.labels;
    !container.state.status.is_live()
        && until.is_none_or(|until| container.config.created < until)
        && filters.labels("label", labels)
        && !filters.values("label!").iter().any(|unwanted| has_label(unwanted, labels))
}

/// Asks on the terminal, or whatever stdin is; no answer is a no.
pub fn confirm(warning: &str) -> anyhow::Result<bool> {
    let mut output = io::stdout().lock();
    write!(output, "{warning}\nAre you sure you want to continue? [y/N] ")?;
    output.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::container;
    use moat::engine::state::Status;

    #[test]
    fn filters_spare() {
        let mut one = container();
        let mut wanted = |texts: &[&str], until: Option<&str>| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let until = until.map(|text| text.parse().unwrap());
            let wanted = is_wanted(&one, &Filters::parse(&texts, &KEYS).unwrap(), until);
            one.state.status = Status::Paused;
            assert!(!is_wanted(&one, &Filters::default(), None));
            one.state.status = Status::Created;
            wanted
        };
        assert!(wanted(&[], None));
        assert!(wanted(&["label=tier"], Some("2026-01-02T15:04:06Z")));
        assert!(!wanted(&[], Some("2026-01-02T15:04:05Z")));
        assert!(!wanted(&["label=tier=2"], None));
        assert!(!wanted(&["label!=tier"], None));
        assert!(wanted(&["label!=tier=2"], None));
    }
}
