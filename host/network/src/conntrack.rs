//! Flows that the kernel remembers go on leading where they led when they began, even if the firewall says otherwise by
//! now. One of UDP lives as long as one side sends: without this its datagrams would reach the next container that has
//! the address, and never one that was started again (linux/netfilter/nfnetlink_conntrack.h).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::endpoint::{Attachment, Endpoint};
use super::netlink::{DUMP, Messages, Socket, attributes};
use super::port::Protocol;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;

const UDP: u8 = 17;

/// How many flows are deleted at once.
const AT_ONCE: usize = 256;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direction {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    to_port: u16,
}

/// A flow as it began, and as its answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    original: Direction,
    reply: Direction,
}

/// Forgets all flows from and to interfaces that are gone.
pub(super) fn forget_endpoints(endpoints: &[Endpoint]) {
    let v4 = endpoints.iter().map(|endpoint| IpAddr::from(endpoint.ipv4.addr()));
    let v6 = endpoints.iter().filter_map(|endpoint| Some(IpAddr::from(endpoint.ipv6?.addr())));
    let gone: BTreeSet<IpAddr> = v4.chain(v6).collect();
    let is_gone = |flow: &Flow| gone.contains(&flow.original.from) || gone.contains(&flow.reply.from);
    forget_all(gone.iter().any(IpAddr::is_ipv4), gone.iter().any(IpAddr::is_ipv6), is_gone);
}

/// Forgets the flows to a container's published ports that lead elsewhere: they began before the ports were the
/// container's, or before it was at this address. TCP finds that out by itself.
pub(super) fn forget_detours(attachment: &Attachment) {
    let Some(endpoint) = attachment.public() else { return };
    let leads_to = |port: IpAddr| match port {
        IpAddr::V4(_) => Some(IpAddr::from(endpoint.ipv4.addr())),
        // Without IPv6 it leads to the monitor, as it should.
        IpAddr::V6(_) => endpoint.ipv6.map(|v6| v6.addr().into()),
    };
    let udp = attachment.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let ports: Vec<_> = udp.filter_map(|port| Some((port, leads_to(port.host_ip)?))).collect();
    let numbers: BTreeSet<u16> = ports.iter().map(|(port, _)| port.host_port).collect();
    let is_detour = |flow: &Flow| {
        let Flow { original, reply } = flow;
        // A container's flow to the same port of a server in the world has its source translated alone.
        let passes_by = reply.from == original.to && reply.to != original.from;
        original.protocol == UDP
            && numbers.contains(&original.to_port)
            && !passes_by
            && ports.iter().any(|(port, target)| {
                port.host_port == original.to_port
                    && port.host_ip.is_ipv4() == original.to.is_ipv4()
                    && (port.host_ip.is_unspecified() || port.host_ip == original.to)
                    && reply.from != *target
                    // The host's own way to ::1 is the monitor.
                    && original.to != IpAddr::from(Ipv6Addr::LOCALHOST)
            })
    };
    let any = |is_v4| ports.iter().any(|(port, _)| port.host_ip.is_ipv4() == is_v4);
    forget_all(any(true), any(false), is_detour);
}

/// A host that does not let its flows be forgotten has containers all the same.
fn forget_all(v4: bool, v6: bool, is_stale: impl Fn(&Flow) -> bool) {
    for (wanted, family) in [(v4, libc::AF_INET), (v6, libc::AF_INET6)] {
        if let Err(e) = if wanted { forget(family as u8, &is_stale) } else { Ok(()) } {
            tracing::warn!("flows of containers that were here before may go on: {e}");
        }
    }
}

fn forget(family: u8, is_stale: impl Fn(&Flow) -> bool) -> io::Result<()> {
    // struct nfgenmsg.
    let header = [family, 0, 0, 0];
    let socket = Socket::netfilter()?;
    let mut question = Messages::default();
    question.add(GET, DUMP, &header, |_| {});
    let mut stale = Vec::new();
    socket.dump_each(&question, |answer| {
        if flow(&answer.content).is_some_and(|flow| is_stale(&flow)) {
            stale.push(answer.content);
        }
    })?;
    for some in stale.chunks(AT_ONCE) {
        let mut messages = Messages::default();
        for content in some {
            messages.add(DELETE, 0, &header, |a| {
                for wanted in [ORIGINAL, ID, ZONE] {
                    if let Some(value) = find(content.get(4..).unwrap_or_default(), wanted) {
                        let nested = if wanted == ORIGINAL { libc::NLA_F_NESTED as u16 } else { 0 };
                        a.put(wanted | nested, value);
                    }
                }
            });
        }
        messages.ask_for_answer();
        match socket.obey(&messages) {
            // One of them has ended by itself; the kernel goes on with the others.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

fn flow(content: &[u8]) -> Option<Flow> {
    let all = content.get(4..)?;
    Some(Flow { original: direction(find(all, ORIGINAL)?)?, reply: direction(find(all, REPLY)?)? })
}

/// The attributes CTA_TUPLE_IP and CTA_TUPLE_PROTO.
fn direction(tuple: &[u8]) -> Option<Direction> {
    let (ip, protocol) = (find(tuple, 1)?, find(tuple, 2)?);
    let v4 = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(ip, kind)?).ok()?));
    let v6 = |kind| Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(ip, kind)?).ok()?));
    let address = |of_v4, of_v6| v4(of_v4).map(IpAddr::from).or_else(|| v6(of_v6).map(IpAddr::from));
    // Not every protocol has ports.
    let to_port = find(protocol, 3).and_then(|port| Some(u16::from_be_bytes(port.try_into().ok()?)));
    Some(Direction {
        from: address(1, 3)?,
        to: address(2, 4)?,
        protocol: *find(protocol, 1)?.first()?,
        to_port: to_port.unwrap_or(0),
    })
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}
