//! The network of containers that have none. Docker shows it among the others; there is no record of it.

use moat::engine::Engine;
use serde_json::{Map, Value, json};

/// Its name.
pub const NAME: &str = "none";

/// Its id: that of no network that was made.
pub const ID: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What `inspect` shows of it.
///
/// # Errors
/// When a container's record cannot be read.
pub fn object(engine: &Engine) -> anyhow::Result<Value> {
    let mut containers = Map::new();
    for container in engine.containers()? {
        if container.config.network.networks.is_empty() && container.state.status.is_live() {
            let shown = json!({
                "Name": container.config.name,
                "EndpointID": "",
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            });
            containers.insert(container.config.id.to_string(), shown);
        }
    }
    Ok(json!({
        "Name": NAME,
        "Id": ID,
        "Created": jiff::Timestamp::UNIX_EPOCH.to_string(),
        "Scope": "local",
        "Driver": "null",
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": null},
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": {},
        "Labels": {},
    }))
}
