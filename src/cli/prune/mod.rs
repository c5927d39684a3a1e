//! The verbs that remove what nobody needs: what they ask, and what they spare.

pub mod container;
pub mod image;
pub mod network;
pub mod system;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::filter::{Filters, has_label};
use super::moment;

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
    /// When a filter is none, or the user does not want it.
    pub fn selection(&self, what: &str, warning: &str) -> anyhow::Result<Selection> {
        let selection = Selection::parse(&self.filter)?;
        if !self.force && !confirm(warning)? {
            bail!("{what} prune has been cancelled");
        }
        Ok(selection)
    }
}

/// What may go, as far as filters say.
pub struct Selection {
    filters: Filters,
    until: Option<Timestamp>,
}

impl Selection {
    fn parse(filters: &[String]) -> anyhow::Result<Self> {
        let filters = Filters::parse(filters, &["until", "label", "label!"])?;
        let until = filters.values("until").iter().map(|text| {
            moment::parse_moment(text).map_err(|e| anyhow::anyhow!("invalid filter 'until={text}': {e}"))
        });
        // The earliest of several.
        let until = until.collect::<anyhow::Result<Vec<Timestamp>>>()?.into_iter().min();
        Ok(Self { filters, until })
    }

    /// Whether something with these labels may go. What does not say when it was made is old.
    fn takes(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        let is_old = |until| created.is_none_or(|created| created < until);
        self.until.is_none_or(is_old)
            && self.filters.labels("label", labels)
            && !self.filters.values("label!").iter().any(|unwanted| has_label(unwanted, labels))
    }
}

/// Asks on the terminal, or whatever stdin is; no answer is a no.
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
    fn filters_spare() {
        let labels = BTreeMap::from([("tier".to_owned(), "1".to_owned())]);
        let created = "2026-01-02T15:04:05Z".parse().unwrap();
        let takes = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            Selection::parse(&texts).unwrap().takes(Some(created), &labels)
        };
        assert!(takes(&[]));
        assert!(takes(&["label=tier", "until=2026-01-02T15:04:06Z"]));
        assert!(!takes(&["until=2026-01-02T15:04:05Z"]));
        assert!(!takes(&["until=2026-01-02T15:04:06Z", "until=2026-01-02T15:04:05Z"]));
        assert!(!takes(&["label=tier=2"]));
        assert!(!takes(&["label!=tier"]));
        assert!(takes(&["label!=tier=2"]));
        assert!(Selection::parse(&["until=2026-01-02T15:04:05Z".to_owned()]).unwrap().takes(None, &labels));
        for wrong in ["until=soon", "name=x"] {
            assert!(Selection::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
