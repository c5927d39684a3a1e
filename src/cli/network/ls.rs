//! `moat network ls`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use moat::network::Networks;
use moat::network::record::{DEFAULT, Network, truth};
use moat::root::Root;
use serde_json::{Value, json};

use super::none;
use crate::cli::filter::{Filters, finds};
use crate::cli::template::Template;
use crate::cli::{human, moment};

/// List networks
///
/// The fields for --format are .ID .Name .Driver .Scope .IPv4 .IPv6 .Internal .Labels .CreatedAt.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network ls
  moat network ls --filter label=team=web -q
  moat network ls --format '{{.Name}} {{.Internal}}'

The keys for --filter are id, name, label, driver, scope, type (custom or builtin) and dangling (true for networks that
no running container is on).")]
pub struct Args {
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only those with KEY=VALUE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
}

const KEYS: [&str; 7] = ["id", "name", "label", "driver", "scope", "type", "dangling"];

/// What is asked about a network, and what is shown of it.
struct Row {
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

/// Prints a line for each.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter, &KEYS)?;
    let networks = Networks::of(root);
    if let Some(wrong) = filters.values("dangling").iter().find(|value| truth(value).is_none()) {
        bail!("invalid filter 'dangling={wrong}': it is true or false");
    }
    let mut rows = rows(&networks)?;
    rows.retain(|row| is_wanted(row, &filters));
    let format = match args.format.as_deref() {
        None | Some("table") if args.quiet => "{{.ID}}",
        None | Some("table") => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        Some(format) => format,
    };
    let objects: Vec<Value> = rows.iter().map(|row| object(row, args.no_trunc)).collect();
    let headers = json!({
        "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
        "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
    });
    io::stdout().write_all(Template::parse(format)?.list(&objects, &headers)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// All networks, by name.
fn rows(networks: &Networks) -> anyhow::Result<Vec<Row>> {
    // The default network is always there, also before its first container.
    let default = networks.find(DEFAULT)?;
    let attachments = networks.attachments()?;
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
    let mut rows: Vec<Row> = networks.list()?.into_iter().map(row).collect();
    rows.push(Row {
        id: none::ID.to_owned(),
        name: none::NAME.to_owned(),
        driver: "null",
        labels: BTreeMap::new(),
        is_builtin: true,
        is_used: false,
        ipv6: false,
        internal: false,
        created: default.created,
    });
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

fn is_wanted(row: &Row, filters: &Filters) -> bool {
    let kind = if row.is_builtin { "builtin" } else { "custom" };
    // What cannot be removed is never left over.
    let is_dangling = !row.is_used && !row.is_builtin;
    filters.any("id", |id| finds(id, &row.id))
        && filters.any("name", |name| finds(name, &row.name))
        && filters.labels("label", &row.labels)
        && filters.any("driver", |driver| driver == row.driver)
        && filters.any("scope", |scope| scope == "local")
        && filters.any("type", |wanted| wanted == kind)
        && filters.any("dangling", |wanted| truth(wanted) == Some(is_dangling))
}

/// Docker's names. As there, truth values are words.
fn object(row: &Row, whole_id: bool) -> Value {
    let labels: Vec<_> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let id = if whole_id { row.id.as_str() } else { &row.id[..12] };
    json!({
        "ID": id,
        "Name": row.name,
        "Driver": row.driver,
        "Scope": "local",
        "IPv4": "true",
        "IPv6": row.ipv6.to_string(),
        "Internal": row.internal.to_string(),
        "Labels": human::harmless(&labels.join(",")),
        "CreatedAt": moment::go(row.created, &jiff::tz::TimeZone::system()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat::network::CreateNetwork;

    #[test]
    fn none_is_there_and_what_nobody_uses_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let networks = Networks::of(&Root::open(directory.path()).unwrap());
        networks.create(CreateNetwork { name: "shop".to_owned(), ..CreateNetwork::default() }).unwrap();
        let names = |filter: &[&str]| -> Vec<String> {
            let texts: Vec<String> = filter.iter().map(|&text| text.to_owned()).collect();
            let filters = Filters::parse(&texts, &KEYS).unwrap();
            let rows = rows(&networks).unwrap().into_iter().filter(|row| is_wanted(row, &filters));
            rows.map(|row| row.name).collect()
        };
        assert_eq!(names(&[]), ["bridge", "none", "shop"]);
        assert_eq!(names(&["dangling=1"]), ["shop"]);
        assert_eq!(names(&["dangling=false"]), ["bridge", "none"]);
        assert_eq!(names(&["driver=null"]), ["none"]);
        assert_eq!(names(&["type=custom"]), ["shop"]);
    }
}
