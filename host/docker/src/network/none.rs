//! The network `none` of containers without a network. Docker shows it among the others. It has no record.

use moat_containers::Container;
use serde_json::{Map, Value, json};

/// Its name.
pub const NAME: &str = "none";

/// Its id, which no created network has.
pub const ID: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The network as `inspect` shows it. Of `containers`, it has the running ones without a network.
pub fn object(containers: &[Container]) -> Value {
    let mut alone = Map::new();
    for container in containers {
        if container.config.network.networks.is_empty() && container.state.status.is_live() {
            let shown = json!({
                "Name": container.config.name,
                "EndpointID": "",
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            });
            alone.insert(container.config.id.to_string(), shown);
        }
    }
    json!({
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
        "Containers": alone,
        "Options": {},
        "Labels": {},
    })
}

#[cfg(test)]
mod tests {
    use moat_containers::state::Status;

    use moat_containers::testing::container;

    #[test]
    fn what_runs_without_a_network_is_on_it() {
        let mut containers = [container(), container()];
        containers[0].state.status = Status::Running;
        containers[0].config.network.networks.clear();
        containers[1].config.network.networks.clear();
        let object = super::object(&containers[..1]);
        assert_eq!(object["Containers"][containers[0].id().as_str()]["Name"], "web");
        assert_eq!(super::object(&containers[1..])["Containers"], serde_json::json!({}));
    }
}
