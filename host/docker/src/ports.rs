//! Ports as Docker shows them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use moat_network::endpoint::Attachment;
use moat_network::port::{ContainerPort, PublishedPort, parse_exposed};
use serde_json::{Map, Value, json};

/// The ports of a running container in one line: `0.0.0.0:8080->80/tcp, 443/tcp`. Neighbouring ones become ranges.
pub fn line(exposed: &[String], attachment: &Attachment) -> String {
    let ports = &attachment.ports;
    let mut parts: Vec<(ContainerPort, Option<IpAddr>, String)> = Vec::new();
    let mut published: Vec<&PublishedPort> = ports.iter().collect();
    published.sort_by_key(|port| (port.protocol, port.host_ip, port.container_port, port.host_port));
    for run in runs(&published, |a, b| {
        (a.protocol, a.host_ip) == (b.protocol, b.host_ip)
            && a.container_port.checked_add(1) == Some(b.container_port)
            && a.host_port.checked_add(1) == Some(b.host_port)
    }) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let host = match first.host_port == last.host_port {
            true => first.host(),
            false => format!("{}-{}", first.host(), last.host_port),
        };
        let inner = range(first.container_port, last.container_port);
        parts.push((first.container(), Some(first.host_ip), format!("{host}->{inner}/{}", first.protocol)));
    }
    let mut only_exposed = exposed_ports(exposed);
    only_exposed.retain(|port| !ports.iter().any(|published| published.container() == *port));
    only_exposed.sort_by_key(|port| (port.protocol, port.port));
    let exposed: Vec<&ContainerPort> = only_exposed.iter().collect();
    for run in runs(&exposed, |a, b| a.protocol == b.protocol && a.port.checked_add(1) == Some(b.port)) {
        let (first, last) = (run[0], run[run.len() - 1]);
        parts.push((*first, None, format!("{}/{}", range(first.port, last.port), first.protocol)));
    }
    parts.sort();
    parts.into_iter().map(|(_, _, text)| text).collect::<Vec<_>>().join(", ")
}

fn range(first: u16, last: u16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// The longest runs in which each port follows the one before.
fn runs<'a, T>(all: &'a [&'a T], follows: impl Fn(&T, &T) -> bool) -> Vec<&'a [&'a T]> {
    all.chunk_by(|a, b| follows(a, b)).collect()
}

/// The exposed ports. A text that cannot be read comes from an image and is not shown.
fn exposed_ports(texts: &[String]) -> Vec<ContainerPort> {
    texts.iter().flat_map(|text| parse_exposed(text).unwrap_or_default()).collect()
}

/// `NetworkSettings.Ports` of `inspect`: for every port the places where it is published, or null.
pub fn object(exposed: &[String], attachment: Option<&Attachment>) -> Value {
    let Some(attachment) = attachment else { return json!({}) };
    let mut ports: BTreeMap<ContainerPort, Vec<Value>> =
        exposed_ports(exposed).into_iter().map(|port| (port, Vec::new())).collect();
    for port in &attachment.ports {
        let host = json!({"HostIp": port.host_ip.to_string(), "HostPort": port.host_port.to_string()});
        ports.entry(port.container()).or_default().push(host);
    }
    let value = |hosts: Vec<Value>| if hosts.is_empty() { Value::Null } else { Value::Array(hosts) };
    let ports: Map<String, Value> =
        ports.into_iter().map(|(port, hosts)| (port.to_string(), value(hosts))).collect();
    Value::Object(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(ports: &[(&str, u16, u16)]) -> Attachment {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(ip, host, container)| {
                json!({"protocol": "tcp", "host_ip": ip, "host_port": host, "container_port": container})
            })
            .collect();
        serde_json::from_value(json!({
            "container": "c".repeat(64), "name": "web", "hostname": "web", "host_access": false, "endpoints": [],
            "ports": ports,
        }))
        .unwrap()
    }

    #[test]
    fn lines_are_dockers() {
        let exposed = ["80/tcp".to_owned(), "443/tcp".to_owned(), "444/tcp".to_owned()];
        let both = attachment(&[("0.0.0.0", 8080, 80), ("::", 8080, 80)]);
        assert_eq!(line(&exposed, &both), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443-444/tcp");
        let many = attachment(&[("0.0.0.0", 8000, 80), ("0.0.0.0", 8001, 81), ("127.0.0.1", 9000, 80)]);
        assert_eq!(line(&[], &many), "0.0.0.0:8000-8001->80-81/tcp, 127.0.0.1:9000->80/tcp");
        assert_eq!(line(&[], &attachment(&[])), "");
    }

    #[test]
    fn objects_name_every_port() {
        let exposed = ["80/tcp".to_owned(), "443/tcp".to_owned()];
        let one = attachment(&[("0.0.0.0", 8080, 80)]);
        assert_eq!(
            object(&exposed, Some(&one)),
            json!({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null})
        );
        assert_eq!(object(&exposed, None), json!({}));
    }
}
