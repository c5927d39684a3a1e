//! Programs ask 127.0.0.11 on port 53. No socket listens there: it would keep a container that serves DNS itself from
//! binding port 53 of all addresses. Rules of the packet filter write the agent's own port into packets to port 53, and
//! 53 into the answers. The rules keep no state, so they start no connection tracking.
//!
//! The table belongs to the socket that made it: no other process can change it, a flush of all rules leaves it, and it
//! goes away with the agent.
//!
//! Where a container tracks connections, tracking must see the same ports in both directions. So queries are rewritten
//! before tracking sees them, and answers after.

use std::io;

use moat_netlink::{ACK, Attributes, CREATE, Messages, Socket};
use moat_protocol::RESOLVER;

/// The port that programs ask.
const DNS_PORT: u16 = 53;

/// The table's name, as a list of the rules shows it.
const TABLE: &str = "moat-names";

/// Connection tracking has priority -200: the first is before it, and the last after all else.
const FIRST: i32 = -300;
const LAST: i32 = 300;

// linux/netfilter/nfnetlink.h
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

// linux/netfilter/nf_tables.h: messages
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const APPEND: u16 = 0x800;
// attributes
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_OWNED: u32 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const HOOK_OUTPUT: u32 = 3;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
// expressions
const META_REGISTER: u16 = 1;
const META_KEY: u16 = 2;
const META_PROTOCOL: u32 = 16;
const CMP_REGISTER: u16 = 1;
const CMP_OPERATOR: u16 = 2;
const CMP_DATA: u16 = 3;
const PAYLOAD_INTO: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const PAYLOAD_FROM: u16 = 5;
const PAYLOAD_CHECKSUM: u16 = 6;
const PAYLOAD_CHECKSUM_OFFSET: u16 = 7;
const CHECKSUM_OF_INTERNET: u32 = 1;
const IMMEDIATE_REGISTER: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const REGISTER: u32 = 1;
const IP_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// A transport protocol: its number, and where its checksum is in its header. Ports are in the same place in both.
#[derive(Clone, Copy)]
struct Protocol {
    number: u8,
    checksum: u32,
}

const UDP: Protocol = Protocol { number: 17, checksum: 6 };
const TCP: Protocol = Protocol { number: 6, checksum: 16 };

/// The side of a packet whose address is compared and whose port is compared and rewritten, by their offsets.
#[derive(Clone, Copy)]
struct Side {
    address: u32,
    port: u32,
}

const DESTINATION: Side = Side { address: 16, port: 2 };
const SOURCE: Side = Side { address: 12, port: 0 };

/// Makes the rules in the calling process's network namespace. They live as long as the socket.
///
/// # Errors
/// The kernel's.
pub fn install(udp_port: u16, tcp_port: u16) -> io::Result<Socket> {
    let socket = Socket::netfilter()?;
    let mut messages = Messages::default();
    messages.add(BATCH_BEGIN, 0, &header(libc::AF_UNSPEC as u8, SUBSYSTEM), |_| {});
    add(&mut messages, NEW_TABLE, CREATE, |a| {
        a.text(TABLE_NAME, TABLE);
        a.number_be(TABLE_FLAGS, TABLE_OWNED);
    });
    for (chain, priority, side) in [("queries", FIRST, DESTINATION), ("answers", LAST, SOURCE)] {
        add(&mut messages, NEW_CHAIN, CREATE, |a| {
            a.text(CHAIN_TABLE, TABLE);
            a.text(CHAIN_NAME, chain);
            a.nest(CHAIN_HOOK, |hook| {
                hook.number_be(HOOK_NUMBER, HOOK_OUTPUT);
                hook.number_be(HOOK_PRIORITY, priority.cast_unsigned());
            });
            a.text(CHAIN_TYPE, "filter");
        });
        for (protocol, port) in [(UDP, udp_port), (TCP, tcp_port)] {
            let (from, to) = if priority == FIRST { (DNS_PORT, port) } else { (port, DNS_PORT) };
            add(&mut messages, NEW_RULE, CREATE | APPEND, |a| {
                a.text(RULE_TABLE, TABLE);
                a.text(RULE_CHAIN, chain);
                a.nest(RULE_EXPRESSIONS, |list| rewrite(list, protocol, side, from, to));
            });
        }
    }
    messages.add(BATCH_END, ACK, &header(libc::AF_UNSPEC as u8, SUBSYSTEM), |_| {});
    socket.obey(&messages)?;
    Ok(socket)
}

fn add(messages: &mut Messages, kind: u16, flags: u16, content: impl FnOnce(&mut Attributes<'_>)) {
    messages.add(SUBSYSTEM << 8 | kind, flags | ACK, &header(libc::AF_INET as u8, 0), content);
}

/// struct nfgenmsg: family, version, resource.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// `ip protocol P, ip SIDE A, P SIDE port FROM, set it to TO`.
fn rewrite(list: &mut Attributes<'_>, protocol: Protocol, side: Side, from: u16, to: u16) {
    expression(list, "meta", |a| {
        a.number_be(META_KEY, META_PROTOCOL);
        a.number_be(META_REGISTER, REGISTER);
    });
    compare(list, &[protocol.number]);
    load(list, IP_HEADER, side.address, 4);
    compare(list, &RESOLVER.octets());
    load(list, TRANSPORT_HEADER, side.port, 2);
    compare(list, &from.to_be_bytes());
    expression(list, "immediate", |a| {
        a.number_be(IMMEDIATE_REGISTER, REGISTER);
        a.nest(IMMEDIATE_DATA, |data| data.put(DATA_VALUE, &to.to_be_bytes()));
    });
    expression(list, "payload", |a| {
        a.number_be(PAYLOAD_FROM, REGISTER);
        a.number_be(PAYLOAD_BASE, TRANSPORT_HEADER);
        a.number_be(PAYLOAD_OFFSET, side.port);
        a.number_be(PAYLOAD_LENGTH, 2);
        a.number_be(PAYLOAD_CHECKSUM, CHECKSUM_OF_INTERNET);
        a.number_be(PAYLOAD_CHECKSUM_OFFSET, protocol.checksum);
    });
}

fn load(list: &mut Attributes<'_>, base: u32, offset: u32, length: u32) {
    expression(list, "payload", |a| {
        a.number_be(PAYLOAD_INTO, REGISTER);
        a.number_be(PAYLOAD_BASE, base);
        a.number_be(PAYLOAD_OFFSET, offset);
        a.number_be(PAYLOAD_LENGTH, length);
    });
}

fn compare(list: &mut Attributes<'_>, value: &[u8]) {
    expression(list, "cmp", |a| {
        a.number_be(CMP_REGISTER, REGISTER);
        // Equal.
        a.number_be(CMP_OPERATOR, 0);
        a.nest(CMP_DATA, |data| data.put(DATA_VALUE, value));
    });
}

fn expression(list: &mut Attributes<'_>, name: &str, content: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name);
        element.nest(EXPRESSION_DATA, content);
    });
}
