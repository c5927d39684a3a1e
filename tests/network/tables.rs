//! What is in the kernel's tables: they are read, and meddled with, as another program would.

use std::net::UdpSocket;

use moat_netlink::{CREATE, DUMP, Messages, Socket, attributes};
use moat_test_harness::{Test, tests};

use crate::host::{Host, alone, publishing, shown};

pub const TESTS: &[Test] = tests![
    nothing_is_left_of_who_is_gone,
    one_table_that_is_missing_is_made_anew,
    rules_of_another_version_are_replaced,
    tables_of_another_shape_are_replaced,
];

pub const BRIDGE: u8 = 7;
pub const INET: u8 = 1;

const NFTABLES: u16 = 10 << 8;
const NEW_CHAIN: u16 = NFTABLES | 3;
const GET_CHAIN: u16 = NFTABLES | 4;
const DELETE_TABLE: u16 = NFTABLES | 2;
const DELETE_RULE: u16 = NFTABLES | 8;
const NEW_SET: u16 = NFTABLES | 9;
const GET_SET: u16 = NFTABLES | 10;
const DELETE_SET: u16 = NFTABLES | 11;
const GET_ELEMENT: u16 = NFTABLES | 13;

/// What is done to one of the tables, by names.
fn meddle(family: u8, all: &[(u16, Option<(u16, &str)>)]) {
    let mut messages = Messages::default();
    messages.add(0x10, 0, &[0, 0, 0, 10], |_| {});
    for &(kind, name) in all {
        let flags = if [NEW_CHAIN, NEW_SET].contains(&kind) { CREATE } else { 0 };
        messages.add(kind, flags, &[family, 0, 0, 0], |a| {
            a.text(1, "moat");
            if let Some((attribute, name)) = name {
                a.text(attribute, name);
            }
            if kind == NEW_SET {
                // Ports, which have two bytes.
                a.number_be(4, 13);
                a.number_be(5, 2);
                a.number_be(10, 1);
            }
        });
    }
    messages.ask_for_answer();
    messages.add(0x11, 0, &[0, 0, 0, 10], |_| {});
    Socket::netfilter().unwrap().obey(&messages).unwrap();
}

/// The names of one of the tables' chains or sets.
fn names(family: u8, question: u16) -> Vec<String> {
    let mut messages = Messages::default();
    messages.add(question, DUMP, &[family, 0, 0, 0], |_| {});
    let name = if question == GET_CHAIN { 3 } else { 2 };
    let answers = Socket::netfilter().unwrap().dump(&messages).unwrap();
    let found = answers.iter().filter_map(|answer| {
        let (_, value) = attributes(&answer.content[4..]).find(|(kind, _)| *kind == name)?;
        Some(String::from_utf8(value[..value.len() - 1].to_vec()).unwrap())
    });
    found.collect()
}

/// The sets of both tables that have elements, but for those that say which rules are there and what the host was
/// before.
pub fn filled() -> Vec<String> {
    let sets = [BRIDGE, INET]
        .into_iter()
        .flat_map(|family| names(family, GET_SET).into_iter().map(move |it| (family, it)));
    let containers = sets.filter(|(_, name)| name != "closed" && !name.starts_with("rules-"));
    containers.filter(|(family, name)| elements(*family, name) > 0).map(|(_, name)| name).collect()
}

pub fn elements(family: u8, set: &str) -> usize {
    let mut messages = Messages::default();
    messages.add(GET_ELEMENT, DUMP, &[family, 0, 0, 0], |a| {
        a.text(1, "moat");
        a.text(2, set);
    });
    let answers = Socket::netfilter().unwrap().dump(&messages).unwrap();
    let lists =
        answers.iter().flat_map(|answer| attributes(&answer.content[4..]).filter(|(kind, _)| *kind == 3));
    lists.map(|(_, list)| attributes(list).count()).sum()
}

fn marker(family: u8) -> String {
    names(family, GET_SET).into_iter().find(|name| name.starts_with("rules-")).unwrap()
}

fn nothing_is_left_of_who_is_gone() {
    alone(|| {
        let host = Host::new();
        let before = shown("-o link show");
        for _ in 0..2 {
            let guest = host.run("a", publishing(&["5353:53/udp", "127.0.0.1:8080:80"]));
            assert!(filled().contains(&"published4".to_owned()) && filled().contains(&"macs".to_owned()));
            host.networks.release(&guest.config.id).unwrap();
            assert!(filled().is_empty(), "{:?}", filled());
            guest.kill();
            assert_eq!(shown("-o link show"), before);
        }
    });
}

fn one_table_that_is_missing_is_made_anew() {
    alone(|| {
        let host = Host::new();
        let first = host.run("a", publishing(&["5353:53/udp"]));
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for (family, name) in [(BRIDGE, "b"), (INET, "c")] {
            meddle(family, &[(DELETE_TABLE, None)]);
            let next = host.run(name, publishing(&[]));
            // The one that was there before sends and is reached as before.
            socket.send_to(b"question", ("127.0.0.1", 5353)).unwrap();
            let seen = first.cable().datagram();
            assert_eq!(seen.to, (first.ip(), 53));
            first.cable().send(&first.datagram(53, seen.from, "answer"));
            let mut buffer = [0; 100];
            assert_eq!(socket.recv(&mut buffer).unwrap(), 6);
            host.networks.release(&next.config.id).unwrap();
        }
        // A container that ends while both are missing is released all the same.
        meddle(BRIDGE, &[(DELETE_TABLE, None)]);
        meddle(INET, &[(DELETE_TABLE, None)]);
        host.networks.release(&first.config.id).unwrap();
        assert!(host.networks.attachments().unwrap().is_empty());
    });
}

fn rules_of_another_version_are_replaced() {
    alone(|| {
        let host = Host::new();
        let first = host.run("a", publishing(&["5353:53/udp"]));
        let current = marker(INET);
        for family in [BRIDGE, INET] {
            // Other rules, none at that, under another name, with a chain and a set that are no more.
            meddle(
                family,
                &[
                    (DELETE_RULE, None),
                    (DELETE_SET, Some((2, &current))),
                    (NEW_SET, Some((2, "rules-of-old"))),
                    (NEW_CHAIN, Some((3, "of-old"))),
                ],
            );
        }
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let _second = host.run("b", publishing(&[]));
        socket.send_to(b"question", ("127.0.0.1", 5353)).unwrap();
        assert_eq!(first.cable().datagram().to, (first.ip(), 53));
        for family in [BRIDGE, INET] {
            assert_eq!(marker(family), current);
            let all = [names(family, GET_CHAIN), names(family, GET_SET)].concat();
            assert!(!all.iter().any(|name| name.contains("of-old")), "{all:?}");
        }
    });
}

fn tables_of_another_shape_are_replaced() {
    alone(|| {
        let host = Host::new();
        let first = host.run("a", publishing(&["5353:53/udp"]));
        let current = marker(INET);
        // A set of this name holds something else, as that of another version may.
        meddle(
            INET,
            &[
                (DELETE_RULE, None),
                (DELETE_SET, Some((2, &current))),
                (DELETE_SET, Some((2, "published4"))),
                (NEW_SET, Some((2, "published4"))),
            ],
        );
        let _second = host.run("b", publishing(&[]));
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"question", ("127.0.0.1", 5353)).unwrap();
        assert_eq!(first.cable().datagram().to, (first.ip(), 53));
    });
}
