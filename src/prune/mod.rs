//! The prunes: what they ask the user, and how they show what they removed.

pub mod container;
pub mod image;
pub mod network;
pub mod system;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use moat_engine::image::Removed;
use moat_engine::prune::{LabelFilter, Pruned, Selection};

use super::filter::Filters;
use super::{human, moment};

/// The flags of all of them.
#[derive(clap::Args)]
pub struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with KEY=VALUE
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl PruneArgs {
    /// What may go, unless the user says that nothing may. `what` is pruned, and `warning` says what that means.
    ///
    /// # Errors
    /// When a filter is not valid, or the user does not want it.
    pub fn selection(&self, what: &str, warning: &str) -> anyhow::Result<Selection> {
        let selection = parse(&self.filter)?;
        if !self.force && !confirm(warning)? {
            bail!("{what} prune has been cancelled");
        }
        Ok(selection)
    }
}

/// What `--filter` says.
fn parse(filters: &[String]) -> anyhow::Result<Selection> {
    let filters = Filters::parse(filters, &["until", "label", "label!"])?;
    let until = filters.values("until").iter().map(|text| {
        moment::parse_moment(text).map_err(|e| anyhow::anyhow!("invalid filter 'until={text}': {e}"))
    });
    // The earliest of several.
    let until = until.collect::<anyhow::Result<Vec<Timestamp>>>()?.into_iter().min();
    let labels = |key: &str| filters.values(key).iter().map(|text| label(text)).collect();
    Ok(Selection { until, labels: labels("label"), without_labels: labels("label!") })
}

/// `NAME`, or `NAME=VALUE`.
fn label(text: &str) -> LabelFilter {
    match text.split_once('=') {
        Some((name, value)) => LabelFilter { name: name.to_owned(), value: Some(value.to_owned()) },
        None => LabelFilter { name: text.to_owned(), value: None },
    }
}

/// Lists what was removed, and tells what could not be.
///
/// # Errors
/// What ended the prune before its time.
fn report(pruned: &mut Pruned) -> anyhow::Result<ExitCode> {
    pruned.faults.iter().for_each(crate::complain);
    list("Deleted Containers:", pruned.containers.iter());
    list("Deleted Networks:", pruned.networks.iter());
    let images = pruned.images.iter().map(|removed| match removed {
        Removed::Untagged(name) => format!("untagged: {}", name.familiar()),
        Removed::Deleted(digest) => format!("deleted: {digest}"),
    });
    list("Deleted Images:", images);
    match pruned.failure.take() {
        Some(failure) => Err(failure.into()),
        None if pruned.faults.is_empty() => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::FAILURE),
    }
}

/// As [`report`], and tells how many bytes that gave back.
fn report_with_space(mut pruned: Pruned) -> anyhow::Result<ExitCode> {
    let code = report(&mut pruned)?;
    say!("Total reclaimed space: {}", human::reclaimed(pruned.reclaimed));
    Ok(code)
}

fn list(title: &str, removed: impl ExactSizeIterator<Item = impl std::fmt::Display>) {
    if removed.len() > 0 {
        say!("{title}");
        removed.for_each(|one| say!("{one}"));
        say!("");
    }
}

/// Asks on stdout and reads the answer from stdin; no answer is a no.
fn confirm(warning: &str) -> anyhow::Result<bool> {
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

    #[test]
    fn filters_are_read() {
        let parse = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            super::parse(&texts)
        };
        let early = "2026-01-02T15:04:05Z".parse().unwrap();
        let tier = |value: Option<&str>| {
            vec![LabelFilter { name: "tier".to_owned(), value: value.map(str::to_owned) }]
        };
        let all = Selection::default;
        for (texts, expected) in [
            (&[][..], all()),
            (
                &["until=2026-01-02T15:04:06Z", "until=2026-01-02T15:04:05Z"],
                Selection { until: Some(early), ..all() },
            ),
            (&["label=tier"], Selection { labels: tier(None), ..all() }),
            (&["label=tier=2"], Selection { labels: tier(Some("2")), ..all() }),
            (&["label!=tier"], Selection { without_labels: tier(None), ..all() }),
            (&["label!=tier=2"], Selection { without_labels: tier(Some("2")), ..all() }),
        ] {
            assert_eq!(parse(texts).unwrap(), expected, "{texts:?}");
        }
        for wrong in ["until=soon", "name=x"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
    }
}
