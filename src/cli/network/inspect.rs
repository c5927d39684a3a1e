//! `moat network inspect`.

use std::io::{self, Write};
use std::process::ExitCode;

use moat::engine::Engine;
use moat::network::endpoint::Attachment;
use moat::network::record::Network;
use moat::root::Root;
use serde_json::{Map, Value, json};

use super::none;
use crate::cli::inspect::list;
use crate::cli::template::Template;

/// Show everything about networks
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat network inspect shop
  moat network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' shop
  moat network inspect -f '{{range .Containers}}{{.Name}} {{end}}' shop")]
pub struct Args {
    /// A Go template for each, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// For those who know it from Docker
    #[arg(short, long)]
    verbose: bool,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Prints an array with an object for each network, or what the template makes of each.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let template = format.filter(|format| *format != "json").map(Template::parse).transpose()?;
    let engine = Engine::open(root)?;
    // Looking at the containers repairs what crashes left on networks.
    engine.containers()?;
    let networks = engine.networks();
    let attachments = networks.attachments()?;
    let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for name in &args.networks {
        if name == none::NAME {
            found.push(none::object(&engine)?);
            continue;
        }
        match networks.find(name) {
            Ok(network) => found.push(object(&network, &attachments)),
            Err(e) => {
                crate::cli::complain(e);
                code = ExitCode::FAILURE;
            }
        }
    }
    let mut output = io::stdout().lock();
    match template {
        None => output.write_all(list(&found, format.is_none())?.as_bytes())?,
        Some(template) => {
            for object in &found {
                writeln!(output, "{}", template.apply(object)?)?;
            }
        }
    }
    Ok(code)
}

fn object(network: &Network, attachments: &[Attachment]) -> Value {
    let mut config = vec![pool(
        network.ipv4.subnet.to_string(),
        network.ipv4.range.map(|range| range.to_string()),
        network.ipv4.gateway.to_string(),
    )];
    config.extend(network.ipv6.map(|v6| {
        pool(v6.subnet.to_string(), v6.range.map(|range| range.to_string()), v6.gateway.to_string())
    }));
    let mut containers = Map::new();
    for attachment in attachments {
        for endpoint in attachment.endpoints.iter().filter(|endpoint| endpoint.network == network.id) {
            let shown = json!({
                "Name": attachment.name,
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac.to_string(),
                "IPv4Address": endpoint.ipv4.to_string(),
                "IPv6Address": endpoint.ipv6.map(|v6| v6.to_string()).unwrap_or_default(),
            });
            containers.insert(attachment.container.to_string(), shown);
        }
    }
    json!({
        "Name": network.name,
        "Id": network.id.as_str(),
        "Created": network.created.to_string(),
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": true,
        "EnableIPv6": network.ipv6.is_some(),
        "IPAM": {"Driver": "default", "Options": {}, "Config": config},
        "Internal": network.internal,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    })
}

fn pool(subnet: String, range: Option<String>, gateway: String) -> Value {
    let mut pool = json!({"Subnet": subnet, "Gateway": gateway});
    if let Some(range) = range {
        pool["IPRange"] = range.into();
    }
    pool
}
