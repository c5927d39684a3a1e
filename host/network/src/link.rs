//! Links on the host: bridges, what is attached to them, and the routes that subnets must stay clear of
//! (rtnetlink(7), linux/if_link.h).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::mac::MacAddress;
use super::netlink::{ACK, Attributes, CREATE, DUMP, EXCLUSIVE, Messages, Socket, attributes};

/// IFLA_INFO_KIND and what it holds for a bridge (linux/if_link.h).
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const BRIDGE_FORWARD_DELAY: u16 = 1;
const BRIDGE_STP: u16 = 5;
/// IFLA_INFO_SLAVE_KIND and what it holds for a bridge's port (linux/if_link.h).
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const BRIDGE_PORT_HAIRPIN: u16 = 4;

/// How a bridge is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge<'a> {
    /// The interface's name.
    pub name: &'a str,
    /// Its hardware address. A bridge without one takes that of a port, and changes it when ports come and go.
    pub mac: MacAddress,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// The host's addresses on it: the gateways.
    pub addresses: &'a [IpNet],
}

/// A connection with the kernel about links.
pub struct Links(Socket);

impl Links {
    /// Connects.
    ///
    /// # Errors
    /// When the kernel has no networks.
    pub fn open() -> io::Result<Self> {
        Socket::route().map(Self)
    }

    /// Makes a bridge, with its addresses, and brings it up, as far as that was not done before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ensure_bridge(&self, bridge: &Bridge<'_>) -> io::Result<()> {
        if !exists(bridge.name) {
            self.make_bridge(bridge)?;
        }
        // The process that made it may have been killed before it was all set up.
        self.set_up_bridge(bridge)
    }

    fn make_bridge(&self, bridge: &Bridge<'_>) -> io::Result<()> {
        let mut messages = Messages::default();
        messages.add(libc::RTM_NEWLINK, ACK | CREATE | EXCLUSIVE, &link_message(0, 0), |a| {
            a.text(libc::IFLA_IFNAME, bridge.name);
            a.put(libc::IFLA_ADDRESS, &bridge.mac.0);
            a.number(libc::IFLA_MTU, bridge.mtu);
            a.nest(libc::IFLA_LINKINFO, |info| {
                info.text(INFO_KIND, "bridge");
                info.nest(INFO_DATA, |data| {
                    data.number(BRIDGE_FORWARD_DELAY, 0);
                    data.number(BRIDGE_STP, 0);
                });
            });
        });
        self.0.obey(&messages)
    }

    fn set_up_bridge(&self, bridge: &Bridge<'_>) -> io::Result<()> {
        let index = index_of(bridge.name)?;
        let v6 = bridge.addresses.iter().any(|address| address.addr().is_ipv6());
        set_option("ipv6", bridge.name, "accept_ra", "0")?;
        set_option("ipv6", bridge.name, "disable_ipv6", if v6 { "0" } else { "1" })?;
        // Lets connections to 127.0.0.1 be translated to a container; the firewall drops what claims to come from there.
        set_option("ipv4", bridge.name, "route_localnet", "1")?;
        for address in bridge.addresses {
            let mut messages = Messages::default();
            let family = if address.addr().is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
            // struct ifaddrmsg; no duplicate address detection on a bridge that has no ports yet.
            let mut fixed = vec![family, address.prefix_len(), libc::IFA_F_NODAD as u8, 0];
            fixed.extend(index.to_ne_bytes());
            messages.add(libc::RTM_NEWADDR, ACK | CREATE | EXCLUSIVE, &fixed, |a| {
                let octets = octets(address.addr());
                a.put(libc::IFA_LOCAL, &octets);
                a.put(libc::IFA_ADDRESS, &octets);
                if let IpNet::V4(v4) = address {
                    a.put(libc::IFA_BROADCAST, &v4.broadcast().octets());
                }
            });
            match self.0.obey(&messages) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
                other => other?,
            }
        }
        self.change(index, 0, |_| {})
    }

    /// Attaches a tap to a bridge and brings it up.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn attach(&self, name: &str, bridge: &str, mtu: u32) -> io::Result<()> {
        // The host itself says nothing on a container's cable.
        set_option("ipv6", name, "disable_ipv6", "1")?;
        let bridge = index_of(bridge)?;
        // There are frames that a bridge leaves to its port, and ARP that came so would be answered.
        let index = index_of(name)?;
        self.change(index, libc::IFF_NOARP, |a| {
            a.number(libc::IFLA_MTU, mtu);
            a.number(libc::IFLA_MASTER, bridge);
        })?;
        // Where `br_netfilter` is loaded, a container that calls a port of its own is led back to itself by the bridge.
        self.change(index, 0, |a| {
            a.nest(libc::IFLA_LINKINFO, |info| {
                info.text(INFO_SLAVE_KIND, "bridge");
                info.nest(INFO_SLAVE_DATA, |data| data.put(BRIDGE_PORT_HAIRPIN, &[1]));
            });
        })
    }

    /// Changes a link, sets these flags and brings it up.
    fn change(
        &self,
        index: u32,
        flags: libc::c_int,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> io::Result<()> {
        let mut messages = Messages::default();
        let flags = (libc::IFF_UP | flags) as u32;
        messages.add(libc::RTM_NEWLINK, ACK, &link_message(index, flags), attributes);
        self.0.obey(&messages)
    }

    /// Removes an interface; one that is not there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let Ok(index) = index_of(name) else { return Ok(()) };
        let mut messages = Messages::default();
        messages.add(libc::RTM_DELLINK, ACK, &link_message(index, 0), |_| {});
        match self.0.obey(&messages) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Where the host sends packets, but for the default routes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn routes(&self) -> io::Result<Vec<IpNet>> {
        let mut messages = Messages::default();
        messages.add(libc::RTM_GETROUTE, DUMP, &[0; 12], |_| {});
        let answers = self.0.dump(&messages)?;
        Ok(answers.iter().filter_map(|answer| destination(&answer.content)).collect())
    }
}

/// The destination of a route (struct rtmsg).
fn destination(content: &[u8]) -> Option<IpNet> {
    let prefix_len = *content.get(1)?;
    let value = attributes(content.get(12..)?).find(|(kind, _)| *kind == libc::RTA_DST)?.1;
    let address = match value.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => return None,
    };
    IpNet::new(address, prefix_len).ok().filter(|net| net.prefix_len() > 0)
}

/// struct ifinfomsg, with flags that are set.
fn link_message(index: u32, flags: u32) -> [u8; 16] {
    let mut message = [0; 16];
    message[4..8].copy_from_slice(&index.to_ne_bytes());
    message[8..12].copy_from_slice(&flags.to_ne_bytes());
    message[12..16].copy_from_slice(&flags.to_ne_bytes());
    message
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Whether the host has an interface of this name.
pub fn exists(name: &str) -> bool {
    index_of(name).is_ok()
}

fn index_of(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(name)?)
}

/// Sets one of an interface's options, if it has another value; a kernel without that protocol needs none.
fn set_option(protocol: &str, interface: &str, option: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/{protocol}/conf/{interface}/{option}");
    let set = || if fs::read_to_string(&path)?.trim() == value { Ok(()) } else { fs::write(&path, value) };
    match set() {
        Err(e) if e.kind() == io::ErrorKind::NotFound && protocol == "ipv6" => Ok(()),
        other => other,
    }
}
