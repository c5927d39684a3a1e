//! `--filter KEY=VALUE`, for whatever is listed.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

/// How often a pattern may go back to try another way, for all of one text.
const MAX_STEPS: usize = 100_000;

/// What is asked for: values by their keys.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `texts`, whose keys must be among `known`.
    ///
    /// # Errors
    /// When one has no value or another key.
    pub fn parse(texts: &[String], known: &[&str]) -> anyhow::Result<Self> {
        let mut filters = BTreeMap::<String, Vec<String>>::new();
        for text in texts {
            let (key, value) =
                text.split_once('=').with_context(|| format!("invalid filter '{text}': write KEY=VALUE"))?;
            let key = key.trim().to_ascii_lowercase();
            if !known.contains(&key.as_str()) {
                bail!("invalid filter '{key}': there are {}", known.join(", "));
            }
            filters.entry(key).or_default().push(value.trim().to_owned());
        }
        Ok(Self(filters))
    }

    /// The values of `key`.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether something is asked about `key`.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether one of the values of `key` matches; true when there is none.
    pub fn any(&self, key: &str, matches: impl FnMut(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().map(String::as_str).any(matches)
    }

    /// Whether all labels that are asked for under `key`, `NAME` or `NAME=VALUE`, are among `labels`.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|wanted| has_label(wanted, labels))
    }
}

/// Whether `labels` have `NAME`, or `NAME=VALUE`.
pub fn has_label(wanted: &str, labels: &BTreeMap<String, String>) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|has| has == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether `pattern` is found in `text`: a regular expression of characters, `.`, `*`, `+`, `?`, `^`, `$`, `\` and, for
/// the whole of it, `|`.
pub fn finds(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut steps = MAX_STEPS;
    pattern.split('|').any(|pattern| {
        let pattern: Vec<char> = pattern.chars().collect();
        match pattern.strip_prefix(&['^']) {
            Some(rest) => matches_here(rest, &text, &mut steps),
            None => (0..=text.len()).any(|at| matches_here(&pattern, &text[at..], &mut steps)),
        }
    })
}

fn matches_here(pattern: &[char], text: &[char], steps: &mut usize) -> bool {
    if *steps == 0 {
        return false;
    }
    *steps -= 1;
    let (one, rest) = match pattern {
        [] => return true,
        ['$'] => return text.is_empty(),
        ['\\', one, rest @ ..] => (Some(*one), rest),
        ['.', rest @ ..] => (None, rest),
        [one, rest @ ..] => (Some(*one), rest),
    };
    let is_one = |c: &char| one.is_none_or(|one| one == *c);
    let (least, most, rest) = match rest {
        ['*', rest @ ..] => (0, text.len(), rest),
        ['+', rest @ ..] => (1, text.len(), rest),
        ['?', rest @ ..] => (0, 1, rest),
        rest => (1, 1, rest),
    };
    let run = text.iter().take(most).take_while(|c| is_one(c)).count();
    (least..=run).rev().any(|taken| matches_here(rest, &text[taken..], steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("eb", "web1", true),
            ("^eb", "web1", false),
            ("^web$", "web1", false),
            ("^/?web1$", "web1", true),
            ("^web[", "web1", false),
            ("w.b.*1", "webxx1", true),
            ("a+b", "b", false),
            ("a+b", "aab", true),
            ("a\\.b", "axb", false),
            ("^x$|^web1$", "web1", true),
            ("é$", "caf\u{e9}", true),
        ] {
            assert_eq!(finds(pattern, text), expected, "{pattern} {text}");
        }
        // A pattern that could take for ever gives up.
        assert!(!finds(&("a*".repeat(50) + "b"), &"a".repeat(100)));
    }

    #[test]
    fn filters_are_checked_and_applied() {
        let texts = ["name=a", "name=b", "label=x", "label=y=1"].map(str::to_owned);
        let filters = Filters::parse(&texts, &["name", "label"]).unwrap();
        assert!(filters.any("name", |value| value == "b") && filters.any("id", |_| false));
        assert!(!filters.any("name", |value| value == "c"));
        let labels = |all: &[(&str, &str)]| {
            all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        assert!(filters.labels("label", &labels(&[("x", ""), ("y", "1")])));
        assert!(!filters.labels("label", &labels(&[("x", ""), ("y", "2")])));
        assert!(!filters.labels("label", &labels(&[("y", "1")])));
        for bad in ["name", "colour=red"] {
            let error = Filters::parse(&[bad.to_owned()], &["name"]).unwrap_err().to_string();
            assert!(error.starts_with("invalid filter '"), "{error}");
        }
    }
}
