//! What the agent is told of a container's networks: interfaces, /etc/hosts and /etc/resolv.conf.

use std::net::IpAddr;
use std::path::Path;

use moat_protocol::{Dns, HostsEntry, Interface, InterfaceAddress, NetworkSpec};

use moat_containers::config::ContainerConfig;
use moat_network::dns::{self, HOST_RESOLV_CONF, ResolvConf};
use moat_network::endpoint::{Attachment, Endpoint};
use moat_network::record::DEFAULT;
use moat_network::request::NetworkRequest;

/// The lines that Docker gives every container.
const LOCAL: [(&str, &[&str]); 6] = [
    ("127.0.0.1", &["localhost"]),
    ("::1", &["localhost", "ip6-localhost", "ip6-loopback"]),
    ("fe00::", &["ip6-localnet"]),
    ("ff00::", &["ip6-mcastprefix"]),
    ("ff02::1", &["ip6-allnodes"]),
    ("ff02::2", &["ip6-allrouters"]),
];

/// Where a container without a network finds itself.
const OWN_LOOPBACK: &str = "127.0.1.1";

/// The interfaces and the name server. Without networks there is neither: a name would be a way out.
pub fn network(request: &NetworkRequest, attachment: Option<&Attachment>) -> NetworkSpec {
    let Some(attachment) = attachment.filter(|attachment| !attachment.endpoints.is_empty()) else {
        return NetworkSpec::default();
    };
    let interfaces = attachment.endpoints.iter().map(|endpoint| interface(attachment, endpoint)).collect();
    NetworkSpec { interfaces, dns: dns(request, attachment) }
}

/// One of a container's endpoints as an interface. The world is behind the first network that leads there, in each family.
pub fn interface(attachment: &Attachment, endpoint: &Endpoint) -> Interface {
    let v4 = InterfaceAddress { address: endpoint.ipv4.addr().into(), prefix: endpoint.ipv4.prefix_len() };
    let v6 = endpoint.ipv6.map(|v6| InterfaceAddress { address: v6.addr().into(), prefix: v6.prefix_len() });
    let leads_out = attachment.public() == Some(endpoint);
    let leads_out_v6 = attachment.public_v6() == Some(endpoint);
    Interface {
        mac: endpoint.mac,
        name: format!("eth{}", endpoint.number),
        mtu: endpoint.mtu.into(),
        addresses: [Some(v4), v6].into_iter().flatten().collect(),
        gateway_v4: leads_out.then_some(endpoint.gateway4),
        gateway_v6: endpoint.gateway6.filter(|_| leads_out_v6),
    }
}

/// An interface that a container keeps when it leaves a network, with the gateways that the world is behind from now on;
/// nothing when that is where it was.
pub fn gained_gateways(before: &Attachment, after: &Attachment, endpoint: &Endpoint) -> Option<Interface> {
    let was = interface(before, endpoint);
    let mut now = interface(after, endpoint);
    now.gateway_v4 = now.gateway_v4.filter(|_| was.gateway_v4.is_none());
    now.gateway_v6 = now.gateway_v6.filter(|_| was.gateway_v6.is_none());
    (now.gateway_v4.is_some() || now.gateway_v6.is_some()).then_some(now)
}

/// The name server, and how names are completed.
pub fn dns(request: &NetworkRequest, attachment: &Attachment) -> Dns {
    let host = ResolvConf::read(Path::new(HOST_RESOLV_CONF)).unwrap_or_else(|e| {
        tracing::warn!("cannot read {HOST_RESOLV_CONF}: {e}");
        ResolvConf::default()
    });
    let user_defined = attachment.endpoints.iter().any(|endpoint| endpoint.network_name != DEFAULT);
    dns::shown(&host, &request.dns_search, &request.dns_options, user_defined)
}

/// The container's /etc/hosts.
pub fn hosts(config: &ContainerConfig, attachment: Option<&Attachment>) -> Vec<HostsEntry> {
    let local = LOCAL.map(|(address, names)| entry(address, names));
    let mut entries = local.to_vec();
    // The host as the container's first network sees it.
    let gateway = attachment.and_then(|it| it.endpoints.first()).map(|it| (it.gateway4, it.gateway6));
    for extra in &config.network.extra_hosts {
        // Without an address it is the host's own, in each family that there is.
        let own = || {
            let (v4, v6) = gateway?;
            Some([Some(IpAddr::from(v4)), v6.map(IpAddr::from)])
        };
        let addresses = extra.address.map(|address| [Some(address), None]).or_else(own).unwrap_or_default();
        entries.extend(addresses.into_iter().flatten().map(|it| entry(&it.to_string(), &[&extra.name])));
    }
    let endpoints = attachment.map(|it| it.endpoints.as_slice()).unwrap_or_default();
    for endpoint in endpoints {
        entries.extend(own_lines(&config.full_hostname(), endpoint));
    }
    if endpoints.is_empty() {
        entries.push(entry(OWN_LOOPBACK, &own_names(&config.full_hostname())));
    }
    entries
}

/// The lines by which a container finds itself on a network.
pub fn own_lines(hostname: &str, endpoint: &Endpoint) -> Vec<HostsEntry> {
    let addresses = [Some(IpAddr::from(endpoint.ipv4.addr())), endpoint.ipv6.map(|v6| v6.addr().into())];
    addresses.into_iter().flatten().map(|it| entry(&it.to_string(), &own_names(hostname))).collect()
}

/// The host name, and its first part where it has several.
fn own_names(hostname: &str) -> Vec<&str> {
    std::iter::once(hostname).chain(hostname.split_once('.').map(|(first, _)| first)).collect()
}

fn entry(address: &str, names: &[&str]) -> HostsEntry {
    HostsEntry { address: address.to_owned(), names: names.iter().map(|&name| name.to_owned()).collect() }
}
