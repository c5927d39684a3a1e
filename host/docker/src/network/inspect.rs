//! A network as `network inspect` shows it.

use moat_network::endpoint::Attachment;
use moat_network::record::Network;
use serde_json::{Map, Value, json};

/// A network under Docker's names. `attachments` are the places of the running containers.
pub fn object(network: &Network, attachments: &[Attachment]) -> Value {
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
