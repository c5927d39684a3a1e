//! What a user asks of networks for a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use moat_records::id::ContainerId;
use serde::{Deserialize, Serialize};

use super::mac::MacAddress;
use super::port::PortRequest;
use super::record::DEFAULT;

/// A container's wishes; the default is no network, as before there were networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRequest {
    /// The networks that it joins, `eth0` first; none for no device at all.
    pub networks: Vec<Join>,
    /// The ports that are published.
    pub ports: Vec<PortRequest>,
    /// Whether all ports that it exposes are published.
    pub publish_all: bool,
    /// Who resolves names, instead of the host's resolvers.
    pub dns: Vec<IpAddr>,
    /// Where names without dots are looked for.
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
    /// Further entries of /etc/hosts.
    pub extra_hosts: Vec<ExtraHost>,
}

/// A container as far as networks know it.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its id.
    pub id: &'a ContainerId,
    /// Its name.
    pub name: &'a str,
    /// Its host name.
    pub hostname: &'a str,
    /// Ports that it serves, such as `80/tcp`; `publish_all` publishes them.
    pub exposed_ports: &'a [String],
    /// What it asks for.
    pub request: &'a NetworkRequest,
}

/// One network that a container joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The network's name or id, as it was given.
    pub network: String,
    /// The address that it is to have.
    pub ipv4: Option<Ipv4Addr>,
    /// The address that it is to have.
    pub ipv6: Option<Ipv6Addr>,
    /// The hardware address that it is to have.
    pub mac: Option<MacAddress>,
    /// Further names on this network.
    pub aliases: Vec<String>,
}

impl Join {
    /// Joins a network with what that gives.
    pub fn new(network: impl Into<String>) -> Self {
        Self { network: network.into(), ipv4: None, ipv6: None, mac: None, aliases: Vec::new() }
    }
}

/// An entry of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// The address; the host's own, which is then open to the container, when there is none.
    pub address: Option<IpAddr>,
}

impl NetworkRequest {
    /// What a container gets when its user asks for nothing.
    pub fn usual() -> Self {
        Self { networks: vec![Join::new(DEFAULT)], ..Self::default() }
    }

    /// Whether the host itself is to be reached.
    pub fn wants_host(&self) -> bool {
        self.extra_hosts.iter().any(|host| host.address.is_none())
    }

    /// Docker's word for what the container has: a network, or none.
    pub fn mode(&self) -> &str {
        self.networks.first().map_or("none", |join| &join.network)
    }
}
