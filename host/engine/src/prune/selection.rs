//! What a prune takes and what it spares.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// What a prune takes, as far as filters say; without any, everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only what was created before this time.
    pub until: Option<Timestamp>,
    /// Only what has all of these labels.
    pub labels: Vec<LabelFilter>,
    /// Only what has none of these labels.
    pub without_labels: Vec<LabelFilter>,
}

/// A label, with any value or with a certain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    /// Its name.
    pub name: String,
    /// Its value; any when absent.
    pub value: Option<String>,
}

impl Selection {
    /// Whether it takes what was created then and has these labels. What does not say when it was created is old.
    pub fn takes(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        let is_old = |until| created.is_none_or(|created| created < until);
        self.until.is_none_or(is_old)
            && self.labels.iter().all(|label| label.is_among(labels))
            && !self.without_labels.iter().any(|label| label.is_among(labels))
    }
}

impl LabelFilter {
    /// Whether `labels` have it.
    pub fn is_among(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = self.value.as_ref();
        labels.get(&self.name).is_some_and(|found| value.is_none_or(|wanted| found == wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_spare() {
        let labels = BTreeMap::from([("tier".to_owned(), "1".to_owned())]);
        let created: Timestamp = "2026-01-02T15:04:05Z".parse().unwrap();
        let label = |name: &str, value: Option<&str>| {
            vec![LabelFilter { name: name.to_owned(), value: value.map(str::to_owned) }]
        };
        let all = Selection::default();
        let later = Some("2026-01-02T15:04:06Z".parse().unwrap());
        for (selection, expected) in [
            (all.clone(), true),
            (Selection { until: later, labels: label("tier", None), ..all.clone() }, true),
            (Selection { until: Some(created), ..all.clone() }, false),
            (Selection { labels: label("tier", Some("1")), ..all.clone() }, true),
            (Selection { labels: label("tier", Some("2")), ..all.clone() }, false),
            (Selection { labels: label("team", None), ..all.clone() }, false),
            (Selection { without_labels: label("tier", None), ..all.clone() }, false),
            (Selection { without_labels: label("tier", Some("2")), ..all.clone() }, true),
        ] {
            assert_eq!(selection.takes(Some(created), &labels), expected, "{selection:?}");
        }
        assert!(Selection { until: Some(created), ..all }.takes(None, &labels));
    }
}
