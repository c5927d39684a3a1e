//! A network on disk.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use moat_records::format::{Format, Record};
pub use moat_records::id::NetworkId;
use serde::{Deserialize, Serialize};

/// The name of the network of containers that ask for none.
pub const DEFAULT: &str = "bridge";

/// The largest packet when nothing else is said, in bytes.
pub const DEFAULT_MTU: u16 = 1500;

/// Docker's option for the largest packet.
pub const MTU_OPTION: &str = "com.docker.network.driver.mtu";
/// Docker's option for the interface's name.
pub const BRIDGE_NAME_OPTION: &str = "com.docker.network.bridge.name";
/// Docker's option for whether packets leave with the host's address.
pub const MASQUERADE_OPTION: &str = "com.docker.network.bridge.enable_ip_masquerade";

/// The addresses of a network in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses<N, A> {
    /// All of them.
    pub subnet: N,
    /// Those that are given out to a container that does not ask for a certain one.
    pub range: Option<N>,
    /// The host's.
    pub gateway: A,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The format of this record.
    #[serde(default)]
    pub format: Format<1>,
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The bridge's name.
    pub bridge: String,
    /// Its IPv4 addresses.
    pub ipv4: Addresses<Ipv4Net, Ipv4Addr>,
    /// Its IPv6 addresses, if it has any.
    pub ipv6: Option<Addresses<Ipv6Net, Ipv6Addr>>,
    /// Whether nothing outside can be reached.
    pub internal: bool,
    /// Free words about it.
    pub labels: BTreeMap<String, String>,
    /// The options that it was made with.
    pub options: BTreeMap<String, String>,
}

impl Record for Network {
    const FORMAT: u32 = 1;
}

impl Network {
    /// Whether it is the network of containers that ask for none. Names are not resolved there, as with Docker.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// The largest packet, in bytes.
    pub fn mtu(&self) -> u16 {
        self.options.get(MTU_OPTION).and_then(|value| value.parse().ok()).unwrap_or(DEFAULT_MTU)
    }

    /// Whether its containers' packets leave the host with the host's address.
    pub fn masquerades(&self) -> bool {
        self.options.get(MASQUERADE_OPTION).and_then(|value| truth(value)).unwrap_or(true)
    }
}

/// A truth value in one of the ways in which Docker reads it.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
