//! The rules that are there once for all containers. What differs from container to container is in their sets.
//!
//! ```text
//! table bridge moat                      what comes out of a container's tap
//!   guests   prerouting                  taps only: the hardware address is its own
//!   echoes   forward                     what goes back by the tap that it came by is for that tap's container
//!   arp, ip4, ip6                        the addresses are its own; no router, no DHCP server
//!   fragment6, header6, source6          parts of ip6
//!   reserved input                       what a bridge takes for itself and passes by prerouting
//! table inet moat                        what passes the host
//!   strays   prerouting                  what comes by a tap itself rather than by its bridge: nothing does
//!   input                                containers reach nothing of the host unless it was allowed
//!   forward                              not from network to network, not to the metadata service; both bound the
//!                                        flows of each container
//!   arriving, leaving                    published ports (prerouting, output)
//!   masquerade                           postrouting
//! ```

use std::net::Ipv6Addr;

use sha2::{Digest, Sha256};

use super::encode::{Batch, Family, Hook, Set, Type};
use super::expression::{Base, Bound, Expressions, FIRST, IPV4, IPV6, Meta, Register};
use super::{TABLE, TAP_PREFIX};

/// The tap's hardware address.
pub const MACS: &str = "macs";
/// The tap's addresses.
pub const ADDRESSES4: &str = "addresses4";
/// The tap's addresses.
pub const ADDRESSES6: &str = "addresses6";
/// Each tap with itself.
pub const SAME_TAP: &str = "same_tap";
/// Moat's bridges.
pub const BRIDGES: &str = "bridges";
/// Those of them that lead nowhere.
pub const INTERNAL: &str = "internal";
/// Each bridge with itself.
pub const SAME: &str = "same";
/// The protocols that the host passed nothing on of before Moat told it to. What is not a container's it still does
/// not.
pub const CLOSED: &str = "closed";
/// Containers whose packets leave with the host's address.
pub const MASQUERADED4: &str = "masqueraded4";
/// Containers whose packets leave with the host's address.
pub const MASQUERADED6: &str = "masqueraded6";
/// The containers' addresses, each with the number of its flows.
pub const FLOWS4: &str = "flows4";
/// The containers' addresses, each with the number of its flows.
pub const FLOWS6: &str = "flows6";
/// The containers' addresses, each with how fast it begins flows.
pub const NEW_FLOWS4: &str = "new_flows4";
/// The containers' addresses, each with how fast it begins flows.
pub const NEW_FLOWS6: &str = "new_flows6";
/// Which container may reach the host at which of its addresses.
pub const HOST_ACCESS4: &str = "host_access4";
/// Which container may reach the host at which of its addresses.
pub const HOST_ACCESS6: &str = "host_access6";
/// Ports that are published at all addresses.
pub const PUBLISHED4: &str = "published4";
/// Ports that are published at all addresses.
pub const PUBLISHED6: &str = "published6";
/// Ports that are published at one address.
pub const PUBLISHED_AT4: &str = "published_at4";
/// Ports that are published at one address.
pub const PUBLISHED_AT6: &str = "published_at6";

use Type::{Ether, Family as IpFamily, Interface, Ipv4, Ipv6, Port, Protocol};

/// How many flows of one address the host's table of connections holds. All containers share the table, and so does the
/// host: it has room for 65536 flows on a host with 1 to 4 GiB, and for 262144 on a larger one. Connections of TCP that
/// are over do not count; the kernel makes room of them by itself. It reads the list of an address for each flow that
/// begins, in up to a millisecond for a list of this length, which is the time of the container that sends.
const FLOWS: Bound = Bound::Flows(8192);

/// How many flows an address begins in a second, after as many at once as it may have. The kernel remembers each attempt
/// for the count above and forgets at least 900 in a second (9 at each of 100 ticks): more must not come in.
const NEW_FLOWS: Bound = Bound::Rate { per_second: 500, burst: 8192 };

const BRIDGE_SETS: [Set<'static>; 4] = [
    Set::new(MACS, &[Interface, Ether]),
    Set::new(ADDRESSES4, &[Interface, Ipv4]),
    Set::new(ADDRESSES6, &[Interface, Ipv6]),
    Set::new(SAME_TAP, &[Interface, Interface]),
];

const INET_SETS: [Set<'static>; 16] = [
    Set::new(BRIDGES, &[Interface]),
    Set::new(INTERNAL, &[Interface]),
    Set::new(SAME, &[Interface, Interface]),
    Set::new(CLOSED, &[IpFamily]),
    Set::new(MASQUERADED4, &[Ipv4]),
    Set::new(MASQUERADED6, &[Ipv6]),
    Set::new(FLOWS4, &[Ipv4]).bounded(FLOWS),
    Set::new(FLOWS6, &[Ipv6]).bounded(FLOWS),
    Set::new(NEW_FLOWS4, &[Ipv4]).bounded(NEW_FLOWS),
    Set::new(NEW_FLOWS6, &[Ipv6]).bounded(NEW_FLOWS),
    Set::new(HOST_ACCESS4, &[Ipv4, Ipv4]),
    Set::new(HOST_ACCESS6, &[Ipv6, Ipv6]),
    Set::new(PUBLISHED4, &[Protocol, Port]).with_value(&[Ipv4, Port]),
    Set::new(PUBLISHED6, &[Protocol, Port]).with_value(&[Ipv6, Port]),
    Set::new(PUBLISHED_AT4, &[Ipv4, Protocol, Port]).with_value(&[Ipv4, Port]),
    Set::new(PUBLISHED_AT6, &[Ipv6, Protocol, Port]).with_value(&[Ipv6, Port]),
];

const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST6: u8 = 128;

/// The header of an IPv6 packet's parts, and the types of messages of neighbour discovery, which never come in parts
/// (RFC 6980).
const FRAGMENT: u8 = 44;
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const LISTENER_REPORT: u8 = 143;
/// Advertisements of routers, and redirections: only routers send these.
const OF_ROUTERS: [u8; 2] = [134, 137];

/// Where an IPv4 packet has its source and its destination, in bytes.
const SOURCE4: u32 = 12;
const DESTINATION4: u32 = 16;
/// Where an IPv6 packet has its source and its destination, in bytes.
const SOURCE6: u32 = 8;
const DESTINATION6: u32 = 24;

/// The ports that DHCP servers speak from.
const DHCP_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;

/// Where clouds have the services that give a machine's secrets to it, with the mask: link-local addresses with most of
/// them, 168.63.129.16 with Azure, 100.100.100.200 with Alibaba.
const METADATA4: [([u8; 4], [u8; 4]); 3] =
    [([255, 255, 0, 0], [169, 254, 0, 0]), ([255; 4], [168, 63, 129, 16]), ([255; 4], [100, 100, 100, 200])];
/// The same in IPv6: with Amazon, and with Google.
const METADATA6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// The chains of each table, and where they are called from.
const BRIDGE_CHAINS: [(&str, Option<Hook>); 9] = [
    ("arp", None),
    ("ip4", None),
    ("ip6", None),
    ("fragment6", None),
    ("header6", None),
    ("source6", None),
    ("guests", Some(Hook { kind: "filter", number: 0, priority: -300 })),
    ("reserved", Some(Hook { kind: "filter", number: 1, priority: -300 })),
    ("echoes", Some(Hook { kind: "filter", number: 2, priority: -300 })),
];
const INET_CHAINS: [(&str, Option<Hook>); 6] = [
    ("strays", Some(Hook { kind: "filter", number: 0, priority: -300 })),
    ("input", Some(Hook { kind: "filter", number: 1, priority: 0 })),
    ("forward", Some(Hook { kind: "filter", number: 2, priority: 0 })),
    ("arriving", Some(Hook { kind: "nat", number: 0, priority: -100 })),
    ("leaving", Some(Hook { kind: "nat", number: 3, priority: -100 })),
    ("masquerade", Some(Hook { kind: "nat", number: 4, priority: 100 })),
];

/// The rules of this version.
pub struct Rules {
    /// The name of a set in each table that says which rules are there.
    marker: String,
}

impl Rules {
    /// Those that are written below.
    pub fn new() -> Self {
        let mut batch = Batch::new();
        tables(&mut batch);
        let hash = Sha256::digest(batch.bytes());
        let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { marker: format!("rules-{digits}") }
    }

    /// Has the transaction fail unless these rules are there: what is put into a set needs the set.
    pub fn require(&self, batch: &mut Batch) {
        for family in [Family::Bridge, Family::Inet] {
            batch.add_element(family, TABLE, &self.marker, &[0; 2], &[]);
        }
    }

    /// Makes tables, sets, chains and rules, over what is there. Sets keep their elements.
    pub fn install(&self, batch: &mut Batch) {
        tables(batch);
        for family in [Family::Bridge, Family::Inet] {
            batch.set(family, TABLE, &Set::new(&self.marker, &[Port]));
        }
    }
}

/// Whether a table of this version has a chain or a set of this name.
pub fn is_known(family: Family, name: &str) -> bool {
    let (sets, chains): (&[Set<'_>], &[(&str, _)]) = match family {
        Family::Bridge => (&BRIDGE_SETS, &BRIDGE_CHAINS),
        Family::Inet => (&INET_SETS, &INET_CHAINS),
    };
    sets.iter().any(|set| set.name == name) || chains.iter().any(|(chain, _)| *chain == name)
}

fn tables(batch: &mut Batch) {
    table(batch, Family::Bridge, &BRIDGE_SETS, &BRIDGE_CHAINS);
    guests(batch);
    guests_v6(batch);
    table(batch, Family::Inet, &INET_SETS, &INET_CHAINS);
    filter(batch);
    translate(batch);
}

/// A table without rules.
fn table(batch: &mut Batch, family: Family, sets: &[Set<'_>], chains: &[(&str, Option<Hook>)]) {
    batch.table(family, TABLE);
    batch.flush(family, TABLE);
    sets.iter().for_each(|set| batch.set(family, TABLE, set));
    chains.iter().for_each(|(name, hook)| batch.chain(family, TABLE, name, *hook));
}

fn guests(batch: &mut Batch) {
    const F: Family = Family::Bridge;
    let mut rule = |chain: &str, content: &dyn Fn(&mut Expressions<'_, '_>)| {
        batch.rule(F, TABLE, chain, |e| content(e));
    };
    // Most of what is sent to these addresses is for the bridge, which hands it to the host as if no bridge were there.
    rule("reserved", &|e| {
        e.meta(Meta::InputName, FIRST).equal(FIRST, TAP_PREFIX.as_bytes());
        e.payload(Base::Link, 0, 6, FIRST).mask(FIRST, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xf0]);
        e.equal(FIRST, &[0x01, 0x80, 0xc2, 0, 0, 0]).drop();
    });
    // A tap sends back what came by it (`Links::attach`), for containers that call a port of their own: to no other address.
    rule("echoes", &|e| {
        e.meta(Meta::InputName, FIRST).meta(Meta::OutputName, SECOND).in_set(SAME_TAP, FIRST);
        tap(e).payload(Base::Link, 0, 6, SECOND).not_in_set(MACS, FIRST).drop();
    });
    rule("guests", &|e| e.meta(Meta::InputName, FIRST).unequal(FIRST, TAP_PREFIX.as_bytes()).accept());
    rule("guests", &|e| {
        e.meta(Meta::InputName, FIRST).payload(Base::Link, 6, 6, SECOND).not_in_set(MACS, FIRST).drop();
    });
    for (protocol, chain) in [(0x0806u16, "arp"), (0x0800, "ip4"), (0x86dd, "ip6")] {
        rule("guests", &|e| {
            e.meta(Meta::Protocol, FIRST).equal(FIRST, &protocol.to_be_bytes()).go_to(chain);
        });
    }
    rule("guests", &|e| e.drop());

    // ARP for IPv4 over Ethernet, from itself about itself.
    rule("arp", &|e| {
        e.payload(Base::Network, 0, 6, FIRST).unequal(FIRST, &[0, 1, 8, 0, 6, 4]).drop();
    });
    rule("arp", &|e| {
        tap(e).payload(Base::Network, 8, 6, SECOND).not_in_set(MACS, FIRST).drop();
    });
    rule("arp", &|e| {
        tap(e).payload(Base::Network, 14, 4, SECOND).not_in_set(ADDRESSES4, FIRST).drop();
    });

    rule("ip4", &|e| {
        tap(e).payload(Base::Network, SOURCE4, 4, SECOND).not_in_set(ADDRESSES4, FIRST).drop();
    });
    rule("ip4", &|e| to_net4(e, [255, 0, 0, 0], [127, 0, 0, 0]).drop());
    rule("ip4", &|e| to_net4(e, [255, 255, 0, 0], [169, 254, 0, 0]).drop());
    rule("ip4", &|e| from_udp_port(e, DHCP_SERVER).drop());
}

fn guests_v6(batch: &mut Batch) {
    let mut rule = |chain: &str, content: &dyn Fn(&mut Expressions<'_, '_>)| {
        batch.rule(Family::Bridge, TABLE, chain, |e| content(e));
    };
    // A packet that does not say what it carries is dropped: the rest could come in another fragment.
    rule("ip6", &|e| {
        e.meta(Meta::Transport, FIRST).has_header(FRAGMENT, FIRST).equal(FIRST, &[1]).go_to("fragment6");
    });
    rule("ip6", &|e| e.meta(Meta::Transport, FIRST).go_to("header6"));
    rule("ip6", &|e| e.drop());

    // The further fragments are of no use to a receiver without the first, and the first has to say what it is.
    rule("fragment6", &|e| {
        e.header(FRAGMENT, 2, 2, FIRST).mask(FIRST, &[0xff, 0xf8]).unequal(FIRST, &[0, 0]).go_to("source6");
    });
    for kind in NEIGHBOUR_DISCOVERY {
        rule("fragment6", &|e| icmpv6(e, kind).drop());
    }
    rule("fragment6", &|e| e.payload(Base::Transport, 0, 4, FIRST).go_to("header6"));
    rule("fragment6", &|e| e.drop());

    for kind in OF_ROUTERS {
        rule("header6", &|e| icmpv6(e, kind).drop());
    }
    rule("header6", &|e| from_udp_port(e, DHCPV6_SERVER).drop());
    // A container that claims an address, or asks whether it is taken, speaks of its own.
    for kind in [NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION] {
        rule("header6", &|e| {
            icmpv6(e, kind);
            if kind == NEIGHBOUR_SOLICITATION {
                from_unspecified(e);
            }
            tap(e).payload(Base::Transport, 8, 16, SECOND).not_in_set(ADDRESSES6, FIRST).drop();
        });
    }
    for kind in [NEIGHBOUR_SOLICITATION, LISTENER_REPORT] {
        rule("header6", &|e| from_unspecified(icmpv6(e, kind)).accept());
    }
    rule("header6", &|e| e.go_to("source6"));

    rule("source6", &|e| {
        tap(e).payload(Base::Network, SOURCE6, 16, SECOND).not_in_set(ADDRESSES6, FIRST).drop();
    });
}

/// The register behind an interface's name.
const SECOND: Register = Register::at(4);

fn filter(batch: &mut Batch) {
    let mut rule = |chain: &str, content: &dyn Fn(&mut Expressions<'_, '_>)| {
        batch.rule(Family::Inet, TABLE, chain, |e| content(e));
    };
    rule("strays", &|e| e.meta(Meta::InputName, FIRST).equal(FIRST, TAP_PREFIX.as_bytes()).drop());

    rule("input", &|e| from(e, BRIDGES, false).accept());
    rule("input", &|e| e.established().accept());
    for chain in ["input", "forward"] {
        for (family, offset, length, sets) in
            [(IPV4, SOURCE4, 4, [NEW_FLOWS4, FLOWS4]), (IPV6, SOURCE6, 16, [NEW_FLOWS6, FLOWS6])]
        {
            for set in sets {
                rule(chain, &|e| {
                    let source = from(e.family(family), BRIDGES, true).unconfirmed();
                    source.payload(Base::Network, offset, length, FIRST).in_set(set, FIRST).drop();
                });
            }
        }
    }
    rule("input", &|e| {
        let pair = e.family(IPV4).payload(Base::Network, SOURCE4, 4, FIRST);
        pair.payload(Base::Network, DESTINATION4, 4, Register::at(1)).in_set(HOST_ACCESS4, FIRST).accept();
    });
    rule("input", &|e| {
        let pair = e.family(IPV6).payload(Base::Network, SOURCE6, 16, FIRST);
        pair.payload(Base::Network, DESTINATION6, 16, SECOND).in_set(HOST_ACCESS6, FIRST).accept();
    });
    // The gateway answers pings from its own network: what the host has on that bridge is the gateway alone.
    for (family, protocol, kind) in [(IPV4, ICMP, ECHO_REQUEST), (IPV6, ICMPV6, ECHO_REQUEST6)] {
        rule("input", &|e| {
            e.family(family).meta(Meta::Transport, FIRST).equal(FIRST, &[protocol]);
            e.payload(Base::Transport, 0, 1, FIRST).equal(FIRST, &[kind]).for_the_way_in().accept();
        });
    }
    // The gateway must be found, or nothing is.
    for kind in [NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT] {
        rule("input", &|e| icmpv6(e, kind).accept());
    }
    rule("input", &|e| e.drop());

    for (mask, network) in METADATA4 {
        rule("forward", &|e| to_net4(from(e.family(IPV4), BRIDGES, true), mask, network).drop());
    }
    for address in METADATA6 {
        rule("forward", &|e| {
            from(e.family(IPV6), BRIDGES, true)
                .payload(Base::Network, DESTINATION6, 16, FIRST)
                .equal(FIRST, &address.octets())
                .drop();
        });
    }
    rule("forward", &|e| e.established().accept());
    rule("forward", &|e| {
        e.meta(Meta::InputName, FIRST).meta(Meta::OutputName, SECOND).in_set(SAME, FIRST).accept();
    });
    rule("forward", &|e| from(e, INTERNAL, true).drop());
    rule("forward", &|e| to(e, INTERNAL).drop());
    rule("forward", &|e| e.translated().accept());
    rule("forward", &|e| to(e, BRIDGES).drop());
    rule("forward", &|e| from(e.meta(Meta::Family, FIRST).in_set(CLOSED, FIRST), BRIDGES, false).drop());
}

fn translate(batch: &mut Batch) {
    let mut rule = |chain: &str, content: &dyn Fn(&mut Expressions<'_, '_>)| {
        batch.rule(Family::Inet, TABLE, chain, |e| content(e));
    };
    // What comes over a cable for 127.0.0.1 was not sent by this host.
    rule("arriving", &|e| to_net4(e.family(IPV4), [255, 0, 0, 0], [127, 0, 0, 0]).leave());
    // The kernel passes nothing from ::1 to a bridge: the container's monitor does.
    rule("leaving", &|e| {
        let loopback = Ipv6Addr::LOCALHOST.octets();
        e.family(IPV6).payload(Base::Network, DESTINATION6, 16, FIRST).equal(FIRST, &loopback).leave();
    });
    for chain in ["arriving", "leaving"] {
        rule(chain, &|e| {
            e.family(IPV4).payload(Base::Network, DESTINATION4, 4, FIRST);
            service(e, 1).mapped(PUBLISHED_AT4, FIRST).translate_to(IPV4, FIRST, Register::at(1));
        });
        rule(chain, &|e| {
            service(e.family(IPV4).for_this_host(), 0).mapped(PUBLISHED4, FIRST).translate_to(
                IPV4,
                FIRST,
                Register::at(1),
            );
        });
        rule(chain, &|e| {
            e.family(IPV6).payload(Base::Network, DESTINATION6, 16, FIRST);
            service(e, 4).mapped(PUBLISHED_AT6, FIRST).translate_to(IPV6, FIRST, SECOND);
        });
        rule(chain, &|e| {
            service(e.family(IPV6).for_this_host(), 0)
                .mapped(PUBLISHED6, FIRST)
                .translate_to(IPV6, FIRST, SECOND);
        });
    }
    for (family, set, offset, length) in [(IPV4, MASQUERADED4, SOURCE4, 4), (IPV6, MASQUERADED6, SOURCE6, 16)]
    {
        rule("masquerade", &|e| {
            let source = e.family(family).payload(Base::Network, offset, length, FIRST).in_set(set, FIRST);
            source.meta(Meta::OutputName, FIRST).not_in_set(BRIDGES, FIRST).masquerade();
        });
        // A container that calls a published port of its own network is answered by the host, as it asked the host.
        rule("masquerade", &|e| {
            let source = e.family(family).payload(Base::Network, offset, length, FIRST).in_set(set, FIRST);
            to(source.translated(), BRIDGES).masquerade();
        });
    }
    rule("masquerade", &|e| {
        let source = e.family(IPV4).payload(Base::Network, SOURCE4, 1, FIRST).equal(FIRST, &[127]);
        to(source, BRIDGES).masquerade();
    });
}

/// Loads the name of the tap that a frame came in by.
fn tap<'e, 'a, 'b>(e: &'e mut Expressions<'a, 'b>) -> &'e mut Expressions<'a, 'b> {
    e.meta(Meta::InputName, FIRST)
}

/// Goes on for packets that come from (or not from) one of the interfaces.
fn from<'e, 'a, 'b>(e: &'e mut Expressions<'a, 'b>, set: &str, is: bool) -> &'e mut Expressions<'a, 'b> {
    let e = e.meta(Meta::InputName, FIRST);
    if is { e.in_set(set, FIRST) } else { e.not_in_set(set, FIRST) }
}

/// Goes on for packets that leave by one of the interfaces.
fn to<'e, 'a, 'b>(e: &'e mut Expressions<'a, 'b>, set: &str) -> &'e mut Expressions<'a, 'b> {
    e.meta(Meta::OutputName, FIRST).in_set(set, FIRST)
}

/// Goes on for packets to a network of IPv4.
fn to_net4<'e, 'a, 'b>(
    e: &'e mut Expressions<'a, 'b>,
    mask: [u8; 4],
    network: [u8; 4],
) -> &'e mut Expressions<'a, 'b> {
    e.payload(Base::Network, DESTINATION4, 4, FIRST).mask(FIRST, &mask).equal(FIRST, &network)
}

/// Goes on for datagrams from a port.
fn from_udp_port<'e, 'a, 'b>(e: &'e mut Expressions<'a, 'b>, port: u16) -> &'e mut Expressions<'a, 'b> {
    e.meta(Meta::Transport, FIRST).equal(FIRST, &[UDP]);
    e.payload(Base::Transport, 0, 2, FIRST).equal(FIRST, &port.to_be_bytes())
}

/// Goes on for messages of a type.
fn icmpv6<'e, 'a, 'b>(e: &'e mut Expressions<'a, 'b>, kind: u8) -> &'e mut Expressions<'a, 'b> {
    e.meta(Meta::Transport, FIRST).equal(FIRST, &[ICMPV6]);
    e.payload(Base::Transport, 0, 1, FIRST).equal(FIRST, &[kind])
}

/// Goes on for packets from the unspecified address.
fn from_unspecified<'e, 'a, 'b>(e: &'e mut Expressions<'a, 'b>) -> &'e mut Expressions<'a, 'b> {
    e.payload(Base::Network, SOURCE6, 16, FIRST).equal(FIRST, &[0; 16])
}

/// Loads protocol and port into the registers from the given one on.
fn service<'e, 'a, 'b>(e: &'e mut Expressions<'a, 'b>, at: u32) -> &'e mut Expressions<'a, 'b> {
    e.meta(Meta::Transport, Register::at(at)).payload(Base::Transport, 2, 2, Register::at(at + 1))
}

/// Whether a set's elements belong to bridges and stay when a container goes.
pub fn of_bridges(set: &str) -> bool {
    [BRIDGES, INTERNAL, SAME].contains(&set)
}
