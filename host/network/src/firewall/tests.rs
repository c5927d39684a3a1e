use std::net::Ipv4Addr;

use super::super::port::PublishedPort;
use super::*;

/// A container with one interface, from JSON so that what is on disk is fixed, too.
pub fn attachment() -> Attachment {
    serde_json::from_value(serde_json::json!({
        "container": "c".repeat(64), "name": "web", "hostname": "web", "host_access": false,
        "endpoints": [{
            "network": "a".repeat(64), "network_name": "bridge", "id": "e".repeat(64), "number": 0,
            "tap": "mt-ccccccccccc0",
            "bridge": "moat0", "mac": "02:42:ac:11:00:02", "ipv4": "172.17.0.2/16", "gateway4": "172.17.0.1",
            "ipv6": null, "gateway6": null, "aliases": [], "mtu": 1500, "internal": false, "masquerade": true,
        }],
        "ports": [{"protocol": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80}],
    }))
    .unwrap()
}

fn keys(attachment: &Attachment, set: &str) -> Vec<Vec<u8>> {
    elements(attachment).into_iter().filter(|element| element.set == set).map(|element| element.key).collect()
}

#[test]
fn a_containers_elements_are_its_own() {
    let one = attachment();
    let tap = b"mt-ccccccccccc0\0";
    assert_eq!(keys(&one, ruleset::MACS), [[&tap[..], &[2, 0x42, 0xac, 0x11, 0, 2, 0, 0]].concat()]);
    assert_eq!(keys(&one, ruleset::ADDRESSES4), [[&tap[..], &[172, 17, 0, 2]].concat()]);
    assert_eq!(keys(&one, ruleset::MASQUERADED4), [[172, 17, 0, 2]]);
    assert_eq!(keys(&one, ruleset::BRIDGES), [*b"moat0\0\0\0\0\0\0\0\0\0\0\0"]);
    assert!(keys(&one, ruleset::ADDRESSES6).is_empty() && keys(&one, ruleset::HOST_ACCESS4).is_empty());
    let port = elements(&one).into_iter().find(|element| element.set == ruleset::PUBLISHED4).unwrap();
    assert_eq!(port.key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    assert_eq!(port.value, [172, 17, 0, 2, 0, 80, 0, 0]);
}

#[test]
fn ports_at_one_address_are_kept_apart() {
    let mut one = attachment();
    let port = PublishedPort { protocol: Protocol::Udp, host_ip: Ipv4Addr::LOCALHOST.into(), ..one.ports[0] };
    one.ports = vec![port, PublishedPort { host_ip: Ipv6Addr::LOCALHOST.into(), ..port }];
    assert_eq!(keys(&one, ruleset::PUBLISHED_AT4), [[127, 0, 0, 1, 17, 0, 0, 0, 0x1f, 0x90, 0, 0]]);
    // A container without IPv6 is reached through its monitor.
    assert!(keys(&one, ruleset::PUBLISHED_AT6).is_empty());
    one.endpoints[0].ipv6 = Some("fd00::2/64".parse().unwrap());
    assert_eq!(keys(&one, ruleset::PUBLISHED_AT6).len(), 1);
    // Its own and the link-local one.
    assert_eq!(keys(&one, ruleset::ADDRESSES6).len(), 2);
}

#[test]
fn internal_networks_lead_nowhere() {
    let mut one = attachment();
    one.endpoints[0].internal = true;
    one.host_access = true;
    assert!(keys(&one, ruleset::MASQUERADED4).is_empty() && keys(&one, ruleset::PUBLISHED4).is_empty());
    assert_eq!(keys(&one, ruleset::INTERNAL).len(), 1);
    assert_eq!(keys(&one, ruleset::HOST_ACCESS4), [[172, 17, 0, 2, 172, 17, 0, 1]]);
}
