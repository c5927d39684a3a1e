//! Which images are listed.

use jiff::Timestamp;
use moat_images::store::{Image, Reference};
use thiserror::Error;

use super::glob::Glob;

/// Why a filter of images is refused.
#[derive(Debug, Error)]
pub enum ImageFilterError {
    /// There is no `=`.
    #[error("invalid filter {0:?}: write KEY=VALUE")]
    NoValue(String),
    /// There is no such key.
    #[error("invalid filter '{0}': there are reference, dangling, label, before, since and until")]
    UnknownKey(String),
    /// The value is neither true nor false.
    #[error("invalid filter 'dangling=[{0}]'")]
    Dangling(String),
    /// The pattern of names is malformed.
    #[error("invalid pattern {0:?}: syntax error in pattern")]
    Pattern(String),
}

/// Which images are listed: those that match one of the patterns and every other filter.
#[derive(Debug, Default)]
pub struct Selection {
    patterns: Vec<Glob>,
    dangling: Vec<bool>,
    labels: Vec<(String, Option<String>)>,
    before: Vec<String>,
    since: Vec<String>,
    until: Vec<String>,
}

impl Selection {
    /// Reads the values of `--filter`, and the pattern of names that is given without a flag.
    ///
    /// # Errors
    /// When a filter or a pattern is malformed, or a key is unknown.
    pub fn parse(filters: &[String], pattern: Option<&str>) -> Result<Self, ImageFilterError> {
        let mut selection = Self::default();
        for text in filters {
            let (key, value) = text.split_once('=').ok_or_else(|| ImageFilterError::NoValue(text.clone()))?;
            match key {
                "reference" => selection.patterns.push(glob(value)?),
                "dangling" => selection.dangling.push(match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(ImageFilterError::Dangling(value.to_owned())),
                }),
                "label" => selection.labels.push(match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value.to_owned(), None),
                }),
                "before" => selection.before.push(value.to_owned()),
                "since" => selection.since.push(value.to_owned()),
                "until" => selection.until.push(value.to_owned()),
                _ => return Err(ImageFilterError::UnknownKey(key.to_owned())),
            }
        }
        if let Some(pattern) = pattern {
            selection.patterns.push(glob(pattern)?);
        }
        Ok(selection)
    }

    /// The names of images that are younger than every selected one.
    pub fn before(&self) -> &[String] {
        &self.before
    }

    /// The names of images that are older than every selected one.
    pub fn since(&self) -> &[String] {
        &self.since
    }

    /// Moments before which every selected image was made, as they were typed.
    pub fn until(&self) -> &[String] {
        &self.until
    }

    /// Whether `image` is listed under `name`. An image without a date counts as the oldest.
    pub fn takes(&self, image: &Image, name: Option<&Reference>, ages: &Ages) -> bool {
        let created = image.created();
        let named = self.patterns.is_empty()
            || name.is_some_and(|name| self.patterns.iter().any(|glob| matches_name(glob, name)));
        named
            && self.dangling.iter().all(|dangling| image.references.is_empty() == *dangling)
            && self.labels.iter().all(|(key, value)| {
                let label = image.config.labels_of_config().and_then(|labels| labels.get(key));
                label.is_some_and(|label| value.as_ref().is_none_or(|value| value == label))
            })
            && ages.before.iter().all(|limit| created < *limit)
            && ages.since.iter().all(|limit| created > *limit)
    }
}

/// The dates of the images that a selection names; nothing for an image without one.
#[derive(Debug, Default)]
pub struct Ages {
    /// Of [`Selection::before`], and the moments of [`Selection::until`].
    pub before: Vec<Option<Timestamp>>,
    /// Of [`Selection::since`].
    pub since: Vec<Option<Timestamp>>,
}

fn glob(text: &str) -> Result<Glob, ImageFilterError> {
    Glob::parse(text).ok_or_else(|| ImageFilterError::Pattern(text.to_owned()))
}

/// Whether a pattern matches a name in one of its forms: with or without the tag, short or long.
fn matches_name(glob: &Glob, name: &Reference) -> bool {
    let long = format!("{}/{}", name.registry(), name.repository());
    [name.familiar_name(), name.familiar(), long, name.to_string()].iter().any(|text| glob.matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_every_form() {
        let name: Reference = "ubuntu:20.04".parse().unwrap();
        for pattern in ["ubuntu", "ubuntu:20.04", "ubuntu:*", "docker.io/library/ubuntu"] {
            assert!(matches_name(&Glob::parse(pattern).unwrap(), &name), "{pattern}");
        }
        assert!(!matches_name(&Glob::parse("ubuntu:22.04").unwrap(), &name));
    }

    #[test]
    fn filters_are_checked() {
        for (text, words) in [
            ("reference", "invalid filter \"reference\": write KEY=VALUE"),
            ("reference=[", "invalid pattern \"[\": syntax error in pattern"),
            ("dangling=maybe", "invalid filter 'dangling=[maybe]'"),
            (
                "colour=red",
                "invalid filter 'colour': there are reference, dangling, label, before, since and until",
            ),
        ] {
            let error = Selection::parse(&[text.to_owned()], None).unwrap_err();
            assert_eq!(error.to_string(), words);
        }
        assert!(Selection::parse(&[], Some("[")).is_err());
    }
}
