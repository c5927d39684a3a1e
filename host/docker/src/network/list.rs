//! Networks as `network ls` lists them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_network::endpoint::Attachment;
use moat_network::record::{Network, truth};
use serde_json::{Value, json};

use super::none;
use crate::filter::{FilterError, Filters, Patterns};
use crate::{human, moment};

const KEYS: [&str; 7] = ["id", "name", "label", "driver", "scope", "type", "dangling"];

/// What filters and columns use of a network.
#[derive(Debug)]
pub struct Row {
    id: String,
    name: String,
    driver: &'static str,
    labels: BTreeMap<String, String>,
    is_builtin: bool,
    is_used: bool,
    ipv6: bool,
    internal: bool,
    created: Timestamp,
}

/// A row for each network, sorted by name: those that have records, and `none`. `attachments` are the places of the
/// running containers.
pub fn rows(networks: Vec<Network>, attachments: &[Attachment]) -> Vec<Row> {
    // `none` is as old as the default network.
    let first = networks.iter().find(|network| network.is_default()).map(|network| network.created);
    let row = |network: Network| Row {
        is_builtin: network.is_default(),
        is_used: attachments.iter().any(|attachment| attachment.on(&network.id).is_some()),
        id: network.id.to_string(),
        name: network.name,
        driver: "bridge",
        labels: network.labels,
        ipv6: network.ipv6.is_some(),
        internal: network.internal,
        created: network.created,
    };
    let mut rows: Vec<Row> = networks.into_iter().map(row).collect();
    rows.push(Row {
        id: none::ID.to_owned(),
        name: none::NAME.to_owned(),
        driver: "null",
        labels: BTreeMap::new(),
        is_builtin: true,
        is_used: false,
        ipv6: false,
        internal: false,
        created: first.unwrap_or(Timestamp::UNIX_EPOCH),
    });
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// Which networks are listed.
#[derive(Debug)]
pub struct Selection {
    filters: Filters,
    ids: Patterns,
    names: Patterns,
}

impl Selection {
    /// Reads the values of `--filter`.
    ///
    /// # Errors
    /// When a filter is malformed, has an unknown key, or a value that no network can have.
    pub fn parse(filters: &[String]) -> Result<Self, FilterError> {
        let filters = Filters::parse(filters, &KEYS)?;
        if let Some(wrong) = filters.values("dangling").iter().find(|value| truth(value).is_none()) {
            let expected = "it is true or false".to_owned();
            return Err(FilterError::Value { key: "dangling", value: wrong.clone(), expected });
        }
        Ok(Self { ids: filters.patterns("id")?, names: filters.patterns("name")?, filters })
    }

    /// Whether a network is listed.
    pub fn takes(&self, row: &Row) -> bool {
        let kind = if row.is_builtin { "builtin" } else { "custom" };
        // A network that cannot be removed is never dangling.
        let is_dangling = !row.is_used && !row.is_builtin;
        let filters = &self.filters;
        self.ids.find_any(&[&row.id])
            && self.names.find_any(&[&row.name])
            && filters.labels("label", &row.labels)
            && filters.any("driver", |driver| driver == row.driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |wanted| wanted == kind)
            && filters.any("dangling", |wanted| truth(wanted) == Some(is_dangling))
    }
}

/// A row under Docker's names. As with Docker, truth values are texts.
pub fn object(row: &Row, whole_id: bool, zone: &TimeZone) -> Value {
    let labels: Vec<_> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let id = if whole_id { row.id.as_str() } else { row.id.get(..12).unwrap_or(&row.id) };
    json!({
        "ID": id,
        "Name": row.name,
        "Driver": row.driver,
        "Scope": "local",
        "IPv4": "true",
        "IPv6": row.ipv6.to_string(),
        "Internal": row.internal.to_string(),
        "Labels": human::harmless(&labels.join(",")),
        "CreatedAt": moment::go(row.created, zone),
    })
}

/// The columns' names, one for each field of [`object`].
pub fn headers() -> Value {
    json!({
        "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
        "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_network::record::DEFAULT;
    use moat_network::{CreateNetwork, Networks};
    use moat_records::root::Root;

    #[test]
    fn none_is_there_and_what_is_unused_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let networks = Networks::of(&Root::open(directory.path()).unwrap());
        networks.create(CreateNetwork { name: "shop".to_owned(), ..CreateNetwork::default() }).unwrap();
        networks.find(DEFAULT).unwrap();
        let names = |filter: &[&str]| -> Vec<String> {
            let texts: Vec<String> = filter.iter().map(|&text| text.to_owned()).collect();
            let selection = Selection::parse(&texts).unwrap();
            let rows = rows(networks.list().unwrap(), &networks.attachments().unwrap());
            rows.into_iter().filter(|row| selection.takes(row)).map(|row| row.name).collect()
        };
        assert_eq!(names(&[]), ["bridge", "none", "shop"]);
        assert_eq!(names(&["dangling=1"]), ["shop"]);
        assert_eq!(names(&["dangling=false"]), ["bridge", "none"]);
        assert_eq!(names(&["driver=null"]), ["none"]);
        assert_eq!(names(&["type=custom"]), ["shop"]);
        assert_eq!(names(&["name=^(bridge|none)$"]), ["bridge", "none"]);
        assert_eq!(names(&["name=[no]{2}"]), ["none"]);
        assert_eq!(names(&["id=^0{64}$"]), ["none"]);
    }

    #[test]
    fn filters_that_mean_nothing_are_mistakes() {
        for (text, words) in [
            ("dangling=maybe", "invalid filter 'dangling=maybe': it is true or false"),
            ("name=(", "invalid filter 'name=(': error parsing regexp: missing closing ): `(`"),
        ] {
            assert_eq!(Selection::parse(&[text.to_owned()]).unwrap_err().to_string(), words);
        }
    }
}
