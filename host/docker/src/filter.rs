//! `--filter KEY=VALUE` of every list.

use std::collections::BTreeMap;
use std::num::ParseIntError;

use thiserror::Error;

use crate::pattern::{Pattern, PatternError};

/// Why a filter is refused.
#[derive(Debug, Error)]
pub enum FilterError {
    /// There is no `=`.
    #[error("invalid filter '{0}': write KEY=VALUE")]
    NoValue(String),
    /// This list has no such key.
    #[error("invalid filter '{key}': there are {known}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that the list has.
        known: String,
    },
    /// The key has no such value.
    #[error("invalid filter '{key}={value}': {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it can be.
        expected: String,
    },
    /// The value is no exit code.
    #[error("invalid filter 'exited={value}': an exit code is 0 to 255")]
    ExitCode {
        /// The value.
        value: String,
        /// What is wrong with the number.
        source: ParseIntError,
    },
    /// The value is no regular expression.
    #[error("invalid filter '{key}={value}': {source}")]
    Pattern {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        source: PatternError,
    },
}

/// Values by their keys.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `texts`, whose keys must be among `known`.
    ///
    /// # Errors
    /// When one has no value or another key.
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Self, FilterError> {
        let mut filters = BTreeMap::<String, Vec<String>>::new();
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| FilterError::NoValue(text.clone()))?;
            let key = key.trim().to_ascii_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(FilterError::UnknownKey { key, known: known.join(", ") });
            }
            filters.entry(key).or_default().push(value.trim().to_owned());
        }
        Ok(Self(filters))
    }

    /// The values of `key`.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The values of `key` as regular expressions.
    ///
    /// # Errors
    /// When one is malformed or too large.
    pub fn patterns(&self, key: &'static str) -> Result<Patterns, FilterError> {
        let pattern = |value: &String| {
            let refused = |source| FilterError::Pattern { key, value: shown(value), source };
            Pattern::parse(value).map_err(refused)
        };
        self.values(key).iter().map(pattern).collect::<Result<_, _>>().map(Patterns)
    }

    /// Whether there is a filter with `key`.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether one of the values of `key` matches; true when there is none.
    pub fn any(&self, key: &str, matches: impl FnMut(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().map(String::as_str).any(matches)
    }

    /// Whether `labels` have every `NAME` or `NAME=VALUE` of `key`.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|wanted| has_label(wanted, labels))
    }
}

/// Regular expressions of which one is enough.
#[derive(Debug, Default)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Whether one of them is found in one of `texts`; true when there is none.
    pub fn find_any(&self, texts: &[&str]) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| texts.iter().any(|text| pattern.finds(text)))
    }
}

/// Whether `labels` have `NAME`, or `NAME=VALUE`.
pub fn has_label(wanted: &str, labels: &BTreeMap<String, String>) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|has| has == value),
        None => labels.contains_key(wanted),
    }
}

/// A value as an error shows it. A very long one would hide the mistake.
fn shown(value: &str) -> String {
    crate::human::shorten(value, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn patterns_are_alternatives_and_mistakes_are_told() {
        let patterns = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            Filters::parse(&texts, &["name"]).unwrap().patterns("name").map_err(|e| e.to_string())
        };
        let two = patterns(&["name=^web$", "name=^/db[0-9]$"]).unwrap();
        assert!(two.find_any(&["web", "/web"]) && two.find_any(&["db1", "/db1"]));
        assert!(!two.find_any(&["web1", "/web1"]) && !two.find_any(&[]));
        assert!(patterns(&[]).unwrap().find_any(&["x"]));
        assert_eq!(
            patterns(&["name=^web["]).unwrap_err(),
            "invalid filter 'name=^web[': error parsing regexp: missing closing ]: `[`"
        );
        let long = patterns(&[&format!("name={}", "a".repeat(5000))]).unwrap_err();
        assert!(long.ends_with("the pattern is longer than 1024 bytes") && long.len() < 200, "{long}");
    }
}
