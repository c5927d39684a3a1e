//! The firewall: tables of our own in nf_tables, written over netlink without a helper program.
//!
//! The rules are the same for all containers and are installed when they are missing or of another version
//! ([`ruleset`]). A container is elements of their sets, which come and go in one transaction: connections of others
//! never notice, and no other program's table is touched.

mod encode;
mod expression;
mod install;
mod ruleset;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::endpoint::{Attachment, Endpoint};
use super::mac;
use super::netlink::Socket;
use super::port::{Protocol, PublishedPort};
use super::tap::NAME_LENGTH;
use encode::{Batch, Family};
use ruleset::Rules;

/// The name of both tables.
const TABLE: &str = "moat";

/// What the names of all taps begin with. A tap without elements of its own passes nothing.
pub const TAP_PREFIX: &str = "mt-";

/// Which protocols the host passed nothing on of before Moat told it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closed {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Closed {
    fn elements(self) -> impl Iterator<Item = Element> {
        let families = [(self.v4, expression::IPV4), (self.v6, expression::IPV6)].into_iter();
        families.filter(|(is_closed, _)| *is_closed).map(|(_, family)| Element {
            family: Family::Inet,
            set: ruleset::CLOSED,
            key: vec![family],
            value: Vec::new(),
        })
    }
}

/// One entry of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Element {
    family: Family,
    set: &'static str,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A connection with the kernel's firewall.
pub struct Firewall(Socket);

impl Firewall {
    /// Connects.
    ///
    /// # Errors
    /// When the kernel has no nf_tables.
    pub fn open() -> io::Result<Self> {
        Socket::netfilter().map(Self)
    }

    /// Lets a container communicate as recorded. When the rules are missing or of another version they are installed,
    /// and `others` are the containers that run beside it, whose elements may have been lost with the rules.
    ///
    /// # Errors
    /// When the kernel refuses; nothing has changed then.
    pub fn admit(
        &self,
        attachment: &Attachment,
        others: impl FnOnce() -> Vec<Attachment>,
        closed: Closed,
    ) -> io::Result<()> {
        let rules = Rules::new();
        let mut elements = elements(attachment);
        elements.extend(closed.elements());
        let mut batch = Batch::new();
        rules.require(&mut batch);
        add(&mut batch, &elements);
        match self.commit(batch) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        elements.extend(others().iter().flat_map(self::elements));
        self.install(&rules, &elements)
    }

    /// Puts back the elements of a container that are missing. False, and nothing is done, when the rules are missing or of
    /// another version.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn refresh(&self, attachment: &Attachment) -> io::Result<bool> {
        let mut batch = Batch::new();
        Rules::new().require(&mut batch);
        add(&mut batch, &elements(attachment));
        match self.commit(batch) {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes back what was admitted, whether all of it is there or not.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn expel(&self, attachment: &Attachment) -> io::Result<()> {
        let mut own = elements(attachment);
        own.retain(|element| !ruleset::of_bridges(element.set));
        self.remove(&own)
    }

    /// Changes what was admitted for `before` to what `after` has, in one transaction.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn change(&self, before: &Attachment, after: &Attachment) -> io::Result<()> {
        let (old, new) = (elements(before), elements(after));
        let gone = old.iter().filter(|it| !new.contains(it) && !ruleset::of_bridges(it.set));
        let come = new.iter().filter(|it| !old.contains(it));
        let mut batch = Batch::new();
        for element in gone {
            batch.remove_element(element.family, TABLE, element.set, &element.key);
        }
        add(&mut batch, come);
        match self.commit(batch) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        // Something was missing, so nothing has changed.
        self.expel(before)?;
        let mut batch = Batch::new();
        add(&mut batch, &new);
        match self.commit(batch) {
            // The rules themselves are gone: nothing passes, and the next container puts them back.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Forgets the bridge of a network that is removed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget_bridge(&self, bridge: &str) -> io::Result<()> {
        self.remove(&bridge_elements(bridge, true))
    }

    /// Asks for something harmless, to see whether the kernel answers.
    ///
    /// # Errors
    /// When it has no nf_tables, or this is not root.
    pub fn probe(&self) -> io::Result<()> {
        self.0.dump(&encode::chains()).map(drop)
    }

    /// The tables of others that drop what the host passes on unless a rule of theirs says otherwise.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn droppers(&self) -> io::Result<Vec<String>> {
        let chains = self.0.dump(&encode::chains())?;
        let mut tables: Vec<String> =
            chains.iter().filter_map(|chain| encode::dropper(&chain.content)).collect();
        tables.sort();
        tables.dedup();
        Ok(tables)
    }

    /// Removes both tables: for hosts that no longer run containers, and for tests.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn uninstall(&self) -> io::Result<()> {
        let mut batch = Batch::new();
        batch.remove_table(Family::Bridge, TABLE);
        batch.remove_table(Family::Inet, TABLE);
        self.commit(batch)
    }

    fn commit(&self, batch: Batch) -> io::Result<()> {
        if batch.is_empty() { Ok(()) } else { self.0.obey(&batch.finish()) }
    }

    /// Removes elements, whether they are there or not. A table that is gone took its elements along.
    fn remove(&self, elements: &[Element]) -> io::Result<()> {
        for family in [Family::Bridge, Family::Inet] {
            let own: Vec<&Element> = elements.iter().filter(|element| element.family == family).collect();
            match self.remove_all(&own) {
                Ok(()) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                // One key has another value, so it is another container's by now, or a set is of another version.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EINVAL)) => {
                    own.iter().for_each(|element| drop(self.remove_all(&[element])));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// In one transaction. What is not there cannot be removed, so each is added before: that changes nothing if it is
    /// there.
    fn remove_all(&self, elements: &[&Element]) -> io::Result<()> {
        let mut batch = Batch::new();
        add(&mut batch, elements.iter().copied());
        for element in elements {
            batch.remove_element(element.family, TABLE, element.set, &element.key);
        }
        self.commit(batch)
    }
}

fn add<'a>(batch: &mut Batch, elements: impl IntoIterator<Item = &'a Element>) {
    for element in elements {
        batch.add_element(element.family, TABLE, element.set, &element.key, &element.value);
    }
}

/// What the firewall has to know about a container.
fn elements(attachment: &Attachment) -> Vec<Element> {
    let mut elements = Vec::new();
    for endpoint in &attachment.endpoints {
        elements.extend(bridge_elements(&endpoint.bridge, endpoint.internal));
        elements.extend(endpoint_elements(endpoint, attachment.host_access));
    }
    if let Some(endpoint) = attachment.public() {
        elements.extend(attachment.ports.iter().filter_map(|port| published(port, endpoint)));
    }
    elements.sort();
    elements.dedup();
    elements
}

fn bridge_elements(bridge: &str, internal: bool) -> Vec<Element> {
    let name = interface(bridge);
    let inet = |set, key| Element { family: Family::Inet, set, key, value: Vec::new() };
    let mut elements =
        vec![inet(ruleset::BRIDGES, name.to_vec()), inet(ruleset::SAME, [name, name].concat())];
    if internal {
        elements.push(inet(ruleset::INTERNAL, name.to_vec()));
    }
    elements
}

fn endpoint_elements(endpoint: &Endpoint, host_access: bool) -> Vec<Element> {
    let tap = interface(&endpoint.tap);
    let guest = |set, value: &[u8]| {
        let key = [&tap[..], &padded(value)].concat();
        Element { family: Family::Bridge, set, key, value: Vec::new() }
    };
    let inet = |set, key: Vec<u8>| Element { family: Family::Inet, set, key, value: Vec::new() };
    let mut elements = vec![
        guest(ruleset::MACS, &endpoint.mac.0),
        guest(ruleset::ADDRESSES4, &endpoint.ipv4.addr().octets()),
        guest(ruleset::SAME_TAP, &tap),
    ];
    let v4 = endpoint.ipv4.addr().octets();
    elements.extend([ruleset::FLOWS4, ruleset::NEW_FLOWS4].map(|set| inet(set, v4.to_vec())));
    let masquerade = endpoint.masquerade && !endpoint.internal;
    if masquerade {
        elements.push(inet(ruleset::MASQUERADED4, v4.to_vec()));
    }
    if host_access {
        elements.push(inet(ruleset::HOST_ACCESS4, [v4, endpoint.gateway4.octets()].concat()));
    }
    if let Some(ipv6) = endpoint.ipv6 {
        let v6 = ipv6.addr().octets();
        elements.push(guest(ruleset::ADDRESSES6, &v6));
        let link_local = mac::link_local(endpoint.mac).octets();
        elements.push(guest(ruleset::ADDRESSES6, &link_local));
        for address in [v6, link_local] {
            elements.extend([ruleset::FLOWS6, ruleset::NEW_FLOWS6].map(|set| inet(set, address.to_vec())));
        }
        if masquerade {
            elements.push(inet(ruleset::MASQUERADED6, v6.to_vec()));
        }
        if let Some(gateway) = endpoint.gateway6.filter(|_| host_access) {
            elements.push(inet(ruleset::HOST_ACCESS6, [v6, gateway.octets()].concat()));
        }
    }
    elements
}

/// Nothing for a port at an IPv6 address when the container has none: its monitor passes that on.
fn published(port: &PublishedPort, endpoint: &Endpoint) -> Option<Element> {
    let protocol = match port.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let service = [&padded(&[protocol])[..], &padded(&port.host_port.to_be_bytes())].concat();
    let target = padded(&port.container_port.to_be_bytes());
    let (set, key, value) = match port.host_ip {
        IpAddr::V4(at) => {
            let value = [&endpoint.ipv4.addr().octets()[..], &target].concat();
            match at {
                Ipv4Addr::UNSPECIFIED => (ruleset::PUBLISHED4, service, value),
                at => (ruleset::PUBLISHED_AT4, [&at.octets()[..], &service].concat(), value),
            }
        }
        IpAddr::V6(at) => {
            let value = [&endpoint.ipv6?.addr().octets()[..], &target].concat();
            match at {
                Ipv6Addr::UNSPECIFIED => (ruleset::PUBLISHED6, service, value),
                at => (ruleset::PUBLISHED_AT6, [&at.octets()[..], &service].concat(), value),
            }
        }
    };
    Some(Element { family: Family::Inet, set, key, value })
}

/// An interface's name as the kernel compares it.
fn interface(name: &str) -> [u8; NAME_LENGTH] {
    let mut bytes = [0; NAME_LENGTH];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

/// In a row of values each fills whole registers.
fn padded(value: &[u8]) -> Vec<u8> {
    let mut padded = value.to_vec();
    padded.resize(value.len().next_multiple_of(4), 0);
    padded
}

#[cfg(test)]
mod tests;
