//! The container's network as the agent sets it up, and the two questions that change it while the container runs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Where the agent listens for DNS queries, on port 53, when [`Dns::servers`] names it. Docker's address.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// How many interfaces a container has at most, beside its loopback.
pub const MAX_INTERFACES: usize = 16;

/// How many addresses an interface has at most.
pub const MAX_ADDRESSES: usize = 16;

/// How long an interface's name is at most, in bytes; the kernel's own limit.
pub const MAX_INTERFACE_NAME: usize = 15;

/// How many entries each list of [`Dns`] has at most.
pub const MAX_DNS_ENTRIES: usize = 32;

/// The container's network. The default is `--network none`: a loopback device and no name server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// The interfaces, at most [`MAX_INTERFACES`]. A device of the VM that belongs to none of them stays down.
    pub interfaces: Vec<Interface>,
    /// The name servers.
    pub dns: Dns,
}

/// One network interface: a device of the VM, found by its hardware address, and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// The hardware address that the VM gave the device.
    pub mac: MacAddress,
    /// Its name in the container, such as `eth0`; at most [`MAX_INTERFACE_NAME`] bytes, no `/` and no space.
    pub name: String,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Its addresses, at most [`MAX_ADDRESSES`]. Without one of IPv6 the interface has no IPv6 at all.
    pub addresses: Vec<InterfaceAddress>,
    /// The gateway of the default route for IPv4. At most one interface of a container has one.
    pub gateway_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub gateway_v6: Option<Ipv6Addr>,
}

/// An address of an interface and the network that is reached without a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// The length of the network's prefix in bits: at most 32 for IPv4, 128 for IPv6.
    pub prefix: u8,
}

/// The container's /etc/resolv.conf. Without servers it is an empty file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// Its `nameserver` lines. With [`RESOLVER`] among them the agent listens there and asks the host, over a
    /// [`Stream::Names`](crate::Stream::Names) connection.
    pub servers: Vec<IpAddr>,
    /// The words of its `search` line.
    pub search: Vec<String>,
    /// The words of its `options` line.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether the agent is to listen on [`RESOLVER`].
    pub fn is_resolved_by_host(&self) -> bool {
        self.servers.contains(&IpAddr::V4(RESOLVER))
    }
}

/// An Ethernet hardware address. As text it is six pairs of hexadecimal digits with colons between them.
///
/// `moat_vmm::config` has a type of this name too: the VMM's configuration is a format of its own, and the VMM depends
/// on nothing that the agent and the monitor say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

/// A text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is not a hardware address: six pairs of hexadecimal digits such as 02:42:ac:11:00:02")]
pub struct NotAMacAddress(pub String);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = NotAMacAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAMacAddress(text.chars().take(64).collect());
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or_else(wrong)?;
            // from_str_radix takes a sign, too.
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        match pairs.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(wrong()),
        }
    }
}

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_six_pairs_of_digits() {
        let address: MacAddress = "02:42:aC:11:00:ff".parse().unwrap();
        assert_eq!(address, MacAddress([2, 0x42, 0xac, 0x11, 0, 0xff]));
        assert_eq!(address.to_string(), "02:42:ac:11:00:ff");
        for wrong in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "+2:42:ac:11:00:02",
            "2:42:ac:11:0:2",
            "é:42:ac:11:00:02",
        ] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }
}
