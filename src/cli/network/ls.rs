//! `moat network ls`.

use std::io::{self, Write};
use std::process::ExitCode;

use moat::network::Networks;
use moat::network::record::{DEFAULT, Network};
use moat::root::Root;
use serde_json::{Value, json};

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

The keys for --filter are id, name, label, driver, scope and type (custom or builtin).")]
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

const KEYS: [&str; 6] = ["id", "name", "label", "driver", "scope", "type"];

/// Prints a line for each.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter, &KEYS)?;
    let networks = Networks::of(root);
    // The default network is always there, also before its first container.
    networks.find(DEFAULT)?;
    let mut listed = networks.list()?;
    listed.retain(|network| is_wanted(network, &filters));
    let id =
        |network: &Network| (if args.no_trunc { network.id.as_str() } else { network.id.short() }).to_owned();
    let format = match args.format.as_deref() {
        None | Some("table") if args.quiet => "{{.ID}}",
        None | Some("table") => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        Some(format) => format,
    };
    let objects: Vec<Value> = listed.iter().map(|network| object(network, &id(network))).collect();
    let headers = json!({
        "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
        "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
    });
    io::stdout().write_all(Template::parse(format)?.list(&objects, &headers)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn is_wanted(network: &Network, filters: &Filters) -> bool {
    let kind = if network.is_default() { "builtin" } else { "custom" };
    filters.any("id", |id| finds(id, network.id.as_str()))
        && filters.any("name", |name| finds(name, &network.name))
        && filters.labels("label", &network.labels)
        && filters.any("driver", |driver| driver == "bridge")
        && filters.any("scope", |scope| scope == "local")
        && filters.any("type", |wanted| wanted == kind)
}

/// Docker's names. As there, truth values are words.
fn object(network: &Network, id: &str) -> Value {
    let labels: Vec<_> = network.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "ID": id,
        "Name": network.name,
        "Driver": "bridge",
        "Scope": "local",
        "IPv4": "true",
        "IPv6": network.ipv6.is_some().to_string(),
        "Internal": network.internal.to_string(),
        "Labels": human::harmless(&labels.join(",")),
        "CreatedAt": moment::go(network.created, &jiff::tz::TimeZone::system()),
    })
}
