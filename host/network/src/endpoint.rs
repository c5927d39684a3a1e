//! What a running container has of networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use moat_records::format::{Format, Record};
use serde::{Deserialize, Serialize};

use super::mac::MacAddress;
use super::port::PublishedPort;
use super::record::NetworkId;
use moat_records::id::ContainerId;

/// A running container's place in its networks: written before anything of it is made on the host, and removed after all
/// of it is gone. It holds all that is needed to clean up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The format of this record.
    #[serde(default)]
    pub format: Format<1>,
    /// The container.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// Its interfaces, in the order in which it joined. The first that leads out is its way to the world.
    pub endpoints: Vec<Endpoint>,
    /// Its published ports.
    pub ports: Vec<PublishedPort>,
    /// Whether it may reach the host at its gateways.
    pub host_access: bool,
}

impl Record for Attachment {
    const FORMAT: u32 = 1;
}

/// One interface of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Which network it is on.
    pub network: NetworkId,
    /// The network's name.
    pub network_name: String,
    /// Its id, 64 digits.
    pub id: String,
    /// Which of the container's interfaces: 0 is `eth0`.
    pub number: u8,
    /// The tap's name.
    pub tap: String,
    /// The name of the bridge that the tap is on.
    pub bridge: String,
    /// The hardware address.
    pub mac: MacAddress,
    /// The address, with the length of the network's prefix.
    pub ipv4: Ipv4Net,
    /// The host's address on the network.
    pub gateway4: Ipv4Addr,
    /// The address, with the length of the network's prefix.
    pub ipv6: Option<Ipv6Net>,
    /// The host's address on the network.
    pub gateway6: Option<Ipv6Addr>,
    /// Further names on this network.
    pub aliases: Vec<String>,
    /// The largest packet, in bytes.
    pub mtu: u16,
    /// Whether nothing outside the network can be reached.
    pub internal: bool,
    /// Whether its packets leave the host with the host's address.
    pub masquerade: bool,
}

impl Attachment {
    /// The interface through which the world is reached, and reaches the published ports.
    pub fn public(&self) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| !endpoint.internal)
    }

    /// The same for IPv6.
    pub fn public_v6(&self) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| !endpoint.internal && endpoint.gateway6.is_some())
    }

    /// Its interface on a network.
    pub fn on(&self, network: &NetworkId) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network == *network)
    }
}
