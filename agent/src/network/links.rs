//! Interfaces, their addresses and routes (rtnetlink(7)).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use moat_netlink::{ACK, Attributes, CREATE, DUMP, EXCLUSIVE, Messages, Socket, attributes};
use moat_protocol::{Interface, InterfaceAddress, MacAddress};

use crate::failure::{Context, Failure};

/// The index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;

/// The length of struct ifinfomsg in bytes.
const IFINFO_SIZE: usize = 16;

/// The length of struct ifaddrmsg in bytes.
const IFADDR_SIZE: usize = 8;

/// What is set for every interface before it is brought up. The host decides on addresses: no router may give one out,
/// and an address can be used without a wait for duplicates.
const IPV6_OPTIONS: [(&str, &str); 4] =
    [("accept_ra", "0"), ("autoconf", "0"), ("accept_dad", "0"), ("dad_transmits", "0")];

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's number for it.
    pub index: u32,
    /// Its current name.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddress,
}

/// A connection with the kernel about links.
pub struct Links(Socket);

impl Links {
    /// Connects.
    ///
    /// # Errors
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        Socket::route().map(Self)
    }

    /// Brings `lo` up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn loopback_up(&self) -> io::Result<()> {
        self.change(LOOPBACK, true, |_| {})
    }

    /// The devices that have an Ethernet address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn devices(&self) -> io::Result<Vec<Device>> {
        let mut messages = Messages::default();
        messages.add(libc::RTM_GETLINK, DUMP, &[0; IFINFO_SIZE], |_| {});
        let answers = self.0.dump(&messages)?;
        Ok(answers.iter().filter_map(|answer| device(&answer.content)).collect())
    }

    /// The addresses of a device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&self, index: u32) -> io::Result<Vec<IpAddr>> {
        let mut messages = Messages::default();
        messages.add(libc::RTM_GETADDR, DUMP, &[0; IFADDR_SIZE], |_| {});
        let answers = self.0.dump(&messages)?;
        let found = answers.iter().filter_map(|answer| address(&answer.content));
        Ok(found.filter(|(of, _)| *of == index).map(|(_, address)| address).collect())
    }

    /// Gives a device that is down another name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename(&self, device: &Device, name: &str) -> io::Result<()> {
        self.change(device.index, false, |a| a.text(libc::IFLA_IFNAME, name))
    }

    /// Names a device, brings it up, and gives it its addresses and routes. It must not have any yet.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn configure(&self, index: u32, interface: &Interface) -> Result<(), Failure> {
        let name = &interface.name;
        let failed = |what: &str| format!("cannot {what} the network interface {name}");
        self.change(index, false, |a| {
            a.text(libc::IFLA_IFNAME, name);
            a.number(libc::IFLA_MTU, interface.mtu);
        })
        .context(&failed("name"))?;
        let has_ipv6 = interface.addresses.iter().any(|address| address.address.is_ipv6());
        set_ipv6_options(name, has_ipv6).context(&failed("set the IPv6 options of"))?;
        self.change(index, true, |_| {}).context(&failed("bring up"))?;
        for address in &interface.addresses {
            let InterfaceAddress { address: ip, prefix } = address;
            self.add_address(index, address)
                .context(&format!("cannot give the network interface {name} the address {ip}/{prefix}"))?;
        }
        self.lead_out(index, interface)
    }

    /// Adds default routes through the interface's gateways, if it has any.
    ///
    /// # Errors
    /// The first route that could not be added.
    pub fn lead_out(&self, index: u32, interface: &Interface) -> Result<(), Failure> {
        let name = &interface.name;
        let gateways = [interface.gateway_v4.map(IpAddr::V4), interface.gateway_v6.map(IpAddr::V6)];
        for gateway in gateways.into_iter().flatten() {
            self.add_default_route(index, gateway)
                .context(&format!("cannot send packets through {gateway} on the network interface {name}"))?;
        }
        Ok(())
    }

    fn add_address(&self, index: u32, address: &InterfaceAddress) -> io::Result<()> {
        // struct ifaddrmsg: family, prefix, flags, scope, index.
        let mut fixed = vec![family(address.address), address.prefix, libc::IFA_F_NODAD as u8, 0];
        fixed.extend(index.to_ne_bytes());
        let mut messages = Messages::default();
        messages.add(libc::RTM_NEWADDR, ACK | CREATE | EXCLUSIVE, &fixed, |a| {
            let octets = octets(address.address);
            a.put(libc::IFA_LOCAL, &octets);
            a.put(libc::IFA_ADDRESS, &octets);
            if let Some(broadcast) = broadcast(address) {
                a.put(libc::IFA_BROADCAST, &broadcast);
            }
        });
        self.0.obey(&messages)
    }

    fn add_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        // struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
        let mut fixed = vec![family(gateway), 0, 0, 0];
        fixed.extend([libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST]);
        fixed.extend(0u32.to_ne_bytes());
        let mut messages = Messages::default();
        messages.add(libc::RTM_NEWROUTE, ACK | CREATE | EXCLUSIVE, &fixed, |a| {
            a.put(libc::RTA_GATEWAY, &octets(gateway));
            a.number(libc::RTA_OIF, index);
        });
        self.0.obey(&messages)
    }

    fn change(&self, index: u32, up: bool, content: impl FnOnce(&mut Attributes<'_>)) -> io::Result<()> {
        let flags = if up { libc::IFF_UP as u32 } else { 0 };
        // struct ifinfomsg: family, padding, device type, index, flags, mask of flags to change.
        let mut fixed = vec![0; 4];
        fixed.extend(index.to_ne_bytes());
        fixed.extend(flags.to_ne_bytes());
        fixed.extend(flags.to_ne_bytes());
        let mut messages = Messages::default();
        messages.add(libc::RTM_NEWLINK, ACK, &fixed, content);
        self.0.obey(&messages)
    }
}

/// The device of an RTM_NEWLINK message, if it has an Ethernet address.
fn device(content: &[u8]) -> Option<Device> {
    let index = u32::from_ne_bytes(content.get(4..8)?.try_into().ok()?);
    let (mut name, mut mac) = (None, None);
    for (kind, value) in attributes(content.get(IFINFO_SIZE..)?) {
        match kind {
            libc::IFLA_IFNAME => name = String::from_utf8(value.strip_suffix(&[0])?.to_owned()).ok(),
            libc::IFLA_ADDRESS => mac = value.try_into().ok().map(MacAddress),
            _ => {}
        }
    }
    (index != LOOPBACK).then_some(Device { index, name: name?, mac: mac? })
}

/// The index and the address of an RTM_NEWADDR message.
fn address(content: &[u8]) -> Option<(u32, IpAddr)> {
    let index = u32::from_ne_bytes(content.get(4..8)?.try_into().ok()?);
    // IPv4 has both, which differ on a point-to-point link. IPv6 has only the second.
    let of = |wanted| {
        attributes(&content[IFADDR_SIZE..]).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    };
    let value = of(libc::IFA_LOCAL).or_else(|| of(libc::IFA_ADDRESS))?;
    let address = <[u8; 4]>::try_from(value).map(|it| Ipv4Addr::from(it).into());
    let address = address.or_else(|_| <[u8; 16]>::try_from(value).map(|it| Ipv6Addr::from(it).into()));
    Some((index, address.ok()?))
}

/// Sets the IPv6 options of an interface. A kernel without IPv6 has none.
fn set_ipv6_options(name: &str, enabled: bool) -> io::Result<()> {
    let set = |option: &str, value: &str| match fs::write(
        format!("/proc/sys/net/ipv6/conf/{name}/{option}"),
        value,
    ) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if !enabled {
        return set("disable_ipv6", "1");
    }
    set("disable_ipv6", "0")?;
    IPV6_OPTIONS.iter().try_for_each(|(option, value)| set(option, value))
}

fn family(address: IpAddr) -> u8 {
    // Both are small numbers.
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The broadcast address. A network of at most two addresses has none.
fn broadcast(address: &InterfaceAddress) -> Option<[u8; 4]> {
    let IpAddr::V4(ip) = address.address else { return None };
    let host_bits = u32::MAX.checked_shr(address.prefix.into()).unwrap_or(0);
    (address.prefix < 31).then(|| (ip.to_bits() | host_bits).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_addresses_end_in_ones() {
        let of = |prefix| broadcast(&InterfaceAddress { address: [172, 17, 3, 2].into(), prefix });
        assert_eq!(of(16), Some([172, 17, 255, 255]));
        assert_eq!(of(0), Some([255; 4]));
        assert_eq!((of(31), of(32)), (None, None));
    }

    #[test]
    fn devices_are_read_from_messages() {
        let mut messages = Messages::default();
        let mut fixed = [0; IFINFO_SIZE];
        fixed[4] = 7;
        messages.add(libc::RTM_NEWLINK, 0, &fixed, |a| {
            a.text(libc::IFLA_IFNAME, "eth3");
            a.put(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]);
        });
        let content = &messages.bytes()[16..];
        let expected = Device { index: 7, name: "eth3".to_owned(), mac: MacAddress([2, 0, 0, 0, 0, 9]) };
        assert_eq!(device(content), Some(expected));
        assert_eq!(device(&content[..20]), None);
        assert_eq!(device(&[]), None);
    }
}
