//! The networks of a container as `inspect` shows them.

use moat_containers::config::ContainerConfig;
use moat_network::endpoint::{Attachment, Endpoint};
use moat_network::record::DEFAULT;
use moat_network::request::{Join, NetworkRequest};
use serde_json::{Map, Value, json};

use crate::ports;

/// `NetworkSettings`. A container that does not run has no addresses.
pub fn settings(config: &ContainerConfig, attachment: Option<&Attachment>) -> Value {
    let endpoints = attachment.map(|it| it.endpoints.as_slice()).unwrap_or_default();
    // As with Docker, the addresses beside the networks are those on the default network.
    let default = addresses(endpoints.iter().find(|endpoint| endpoint.network_name == DEFAULT));
    let mut settings = json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": ports::object(&config.exposed_ports, attachment),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
    });
    let networks: Map<String, Value> = match attachment {
        None => config.network.networks.iter().map(|join| network(config, join, None)).collect(),
        Some(_) => {
            let both = config.network.networks.iter().zip(endpoints);
            both.map(|(join, endpoint)| network(config, join, Some(endpoint))).collect()
        }
    };
    if let (Value::Object(settings), Value::Object(default)) = (&mut settings, default) {
        settings.extend(default);
        settings.insert("Networks".to_owned(), Value::Object(networks));
    }
    settings
}

fn network(config: &ContainerConfig, join: &Join, endpoint: Option<&Endpoint>) -> (String, Value) {
    let mut shown = addresses(endpoint);
    if let Value::Object(fields) = &mut shown {
        let addresses = match (join.ipv4, join.ipv6) {
            (None, None) => Value::Null,
            (v4, v6) => json!({"IPv4Address": v4, "IPv6Address": v6}),
        };
        fields.insert("IPAMConfig".to_owned(), addresses);
        fields.insert("Links".to_owned(), Value::Null);
        fields.insert("DNSNames".to_owned(), names(join, config));
        let aliases = if join.aliases.is_empty() { Value::Null } else { json!(join.aliases) };
        fields.insert("Aliases".to_owned(), aliases);
        fields.insert("DriverOpts".to_owned(), Value::Null);
        fields.insert("NetworkID".to_owned(), endpoint.map_or("", |it| it.network.as_str()).into());
    }
    (endpoint.map_or(&join.network, |it| &it.network_name).clone(), shown)
}

/// The names by which the others on a network find a container. The default network has none.
fn names(join: &Join, config: &ContainerConfig) -> Value {
    if join.network == DEFAULT {
        return Value::Null;
    }
    let mut names = vec![config.name.as_str()];
    let others = join.aliases.iter().map(String::as_str).chain([config.id.short(), config.hostname.as_str()]);
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    json!(names)
}

fn addresses(endpoint: Option<&Endpoint>) -> Value {
    let text = |of: fn(&Endpoint) -> Option<String>| endpoint.and_then(of).unwrap_or_default();
    let number = |of: fn(&Endpoint) -> Option<u8>| endpoint.and_then(of).unwrap_or_default();
    json!({
        "EndpointID": text(|it| Some(it.id.clone())),
        "Gateway": text(|it| Some(it.gateway4.to_string())),
        "GlobalIPv6Address": text(|it| Some(it.ipv6?.addr().to_string())),
        "GlobalIPv6PrefixLen": number(|it| Some(it.ipv6?.prefix_len())),
        "IPAddress": text(|it| Some(it.ipv4.addr().to_string())),
        "IPPrefixLen": number(|it| Some(it.ipv4.prefix_len())),
        "IPv6Gateway": text(|it| Some(it.gateway6?.to_string())),
        "MacAddress": text(|it| Some(it.mac.to_string())),
    })
}

/// `HostConfig.PortBindings`: the requested ports.
pub fn bindings(request: &NetworkRequest) -> Value {
    let mut bindings = Map::new();
    for port in &request.ports {
        let host_port = match port.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let host = json!({
            "HostIp": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            "HostPort": host_port,
        });
        if let Value::Array(hosts) = bindings.entry(port.container.to_string()).or_insert_with(|| json!([])) {
            hosts.push(host);
        }
    }
    Value::Object(bindings)
}

/// `HostConfig.ExtraHosts`.
pub fn extra_hosts(request: &NetworkRequest) -> Value {
    let line = |host: &moat_network::request::ExtraHost| {
        let address = host.address.map_or("host-gateway".to_owned(), |ip| ip.to_string());
        format!("{}:{address}", host.name)
    };
    let lines: Vec<String> = request.extra_hosts.iter().map(line).collect();
    if lines.is_empty() { Value::Null } else { json!(lines) }
}
