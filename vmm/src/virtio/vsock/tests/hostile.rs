//! What a broken or hostile guest gets, and what it cannot do.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use proptest::prelude::*;

use super::super::connection::BUFFER_SIZE;
use super::super::header::{HEADER_SIZE, HOST_CID, Header, TYPE_STREAM, op};
use super::super::switch::{MAX_CONNECTIONS, MAX_RESETS};
use super::guest::{CID, Guest, RX, TX, noise};
use crate::virtio::testutil::Part;

#[test]
fn more_than_the_credit_ends_the_connection_alone() {
    let mut guest = Guest::new();
    let mut other = guest.connect(1);
    let mut stream = guest.connect(2);
    guest.say(&mut stream, op::RW, 0, &noise(BUFFER_SIZE as usize + 1));
    let (header, _) = guest.next();
    assert_eq!((header.op, header.dst_port), (op::RST, stream.guest_port));
    assert_eq!(stream.read_to_end(), b"");
    guest.say(&mut other, op::RW, 0, b"alive");
    let mut bytes = [0; 5];
    other.host.read_exact(&mut bytes).unwrap();
}

#[test]
fn sending_after_the_end_ends_the_connection() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(2);
    guest.say(&mut stream, op::SHUTDOWN, 2, &[]);
    guest.say(&mut stream, op::RW, 0, b"but");
    assert_eq!(guest.next().0.op, op::RST);
    assert_eq!(stream.read_to_end(), b"");
}

#[test]
fn packets_that_make_no_sense_are_refused() {
    let mut guest = Guest::new();
    let good = Header {
        src_cid: CID.into(),
        dst_cid: HOST_CID,
        src_port: 1,
        dst_port: 2,
        kind: TYPE_STREAM,
        op: op::REQUEST,
        ..Header::default()
    };
    let refused = [
        Header { dst_cid: 3, ..good },
        Header { dst_cid: CID.into(), ..good },
        Header { dst_cid: u64::MAX, ..good },
        Header { kind: 2, ..good },
        Header { kind: 0, ..good },
        Header { len: 1, ..good },
        Header { len: u32::MAX, op: op::RW, ..good },
        Header { op: op::RW, ..good },
        Header { op: op::RESPONSE, ..good },
        Header { op: op::SHUTDOWN, flags: 3, ..good },
        Header { op: op::CREDIT_REQUEST, ..good },
        Header { op: 0, ..good },
        Header { op: u16::MAX, ..good },
    ];
    for packet in refused {
        guest.send(&packet, &[]);
        let (answer, _) = guest.next();
        let expected = Header {
            src_cid: packet.dst_cid,
            dst_cid: CID.into(),
            src_port: 2,
            dst_port: 1,
            kind: packet.kind,
            op: op::RST,
            ..Header::default()
        };
        assert_eq!(answer, expected, "{packet:?}");
    }
    let ignored = [
        Header { src_cid: 2, ..good },
        Header { src_cid: 8, ..good },
        Header { op: op::RST, len: 9, ..good },
    ];
    for packet in ignored {
        guest.send(&packet, &[]);
    }
    guest.quiet();
    guest.connect(1);
}

#[test]
fn an_open_connection_cannot_be_opened_again_or_answered() {
    for wrong in [op::REQUEST, op::RESPONSE, 0, 8, u16::MAX] {
        let mut guest = Guest::new();
        let mut stream = guest.connect(2);
        guest.say(&mut stream, wrong, 0, &[]);
        assert_eq!(guest.next().0.op, op::RST);
        assert_eq!(stream.read_to_end(), b"");
        guest.quiet();
    }
}

#[test]
fn credit_that_contradicts_itself_is_no_credit() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(2);
    // More taken than was ever sent.
    stream.received = 1 << 30;
    guest.say(&mut stream, op::CREDIT_UPDATE, 0, &[]);
    std::io::Write::write_all(&mut stream.host, b"bytes").unwrap();
    assert_eq!(guest.next().0.op, op::CREDIT_REQUEST);
    guest.quiet();
}

#[test]
fn connections_are_limited_and_lingering_ones_count() {
    raise_descriptor_limit();
    let mut guest = Guest::new();
    let mut streams: Vec<_> = (0..MAX_CONNECTIONS).map(|port| guest.connect(port as u32)).collect();
    guest.request(1);
    assert_eq!(guest.next().0.op, op::RST);
    // One that the guest has forgotten but the host has not read counts until it has.
    let mut lingering = streams.remove(7);
    loop {
        let part = noise(lingering.credit());
        if part.is_empty() {
            break;
        }
        guest.say(&mut lingering, op::RW, 0, &part);
        std::thread::sleep(std::time::Duration::from_millis(20));
        while let Some((header, _)) = guest.try_next() {
            lingering.note(&header);
        }
    }
    guest.say(&mut lingering, op::RST, 0, &[]);
    guest.request(1);
    assert_eq!(guest.next().0.op, op::RST);
    lingering.read_to_end();
    guest.connect(1);
}

#[test]
fn a_launcher_that_does_not_answer_costs_the_guest_its_requests() {
    let mut guest = Guest::new();
    let mut refused = false;
    for port in 0..MAX_CONNECTIONS as u32 {
        guest.request(port);
        let (header, _) = guest.next();
        if header.op == op::RST {
            refused = true;
            break;
        }
    }
    assert!(refused, "the dial socket has no end");
    // With room again, it works again; those that got through are still there.
    guest.dialled();
    guest.request(1);
    let answer = loop {
        let (header, _) = guest.next();
        if header.dst_port > 1000 && header.src_port == 1 {
            break header;
        }
    };
    assert_eq!(answer.op, op::RESPONSE);
}

#[test]
fn without_a_launcher_requests_are_refused_and_its_end_is_seen() {
    let mut guest = Guest::new();
    let launcher = guest.launcher.take().unwrap();
    drop(launcher);
    guest.request(1);
    assert_eq!(guest.next().0.op, op::RST);
    // What the main thread waits for on its duplicate.
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let watched = ours.try_clone().unwrap();
    let mut wait = [PollFd::new(watched.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut wait, PollTimeout::ZERO).unwrap(), 0);
    drop(theirs);
    assert_eq!(poll(&mut wait, PollTimeout::ZERO).unwrap(), 1);
    assert_eq!(wait[0].revents(), Some(PollFlags::POLLHUP));
}

#[test]
fn resets_that_the_guest_does_not_take_are_bounded() {
    let mut guest = Guest::starved();
    for _ in 0..2 * MAX_RESETS {
        let header = Header { op: op::RW, ..guest.stray() };
        guest.send(&header, &[]);
    }
    guest.settle();
    guest.post(1);
    // The worker needs a moment for the first one; from there on a pause means that there are no more.
    assert_eq!(guest.next().0.op, op::RST);
    let mut count = 1;
    loop {
        std::thread::sleep(std::time::Duration::from_micros(300));
        if guest.try_next().is_none() {
            break;
        }
        count += 1;
    }
    assert!((1..=MAX_RESETS).contains(&count), "{count}");
}

#[test]
fn broken_chains_break_the_device_and_a_reset_mends_it() {
    type Break = fn(&mut Guest);
    let ways: [Break; 9] = [
        |guest| _ = guest.driver.add(TX, &[Part::Read(&[0; HEADER_SIZE - 1])]),
        |guest| _ = guest.driver.add(TX, &[Part::Write(4096)]),
        |guest| _ = guest.driver.add_raw(TX, &[(u64::MAX - 8, 44, false)]),
        |guest| _ = guest.driver.add_raw(TX, &[(0x20_0000, u32::MAX, false)]),
        |guest| {
            // A loop.
            guest.driver.set_descriptor(TX, 0, 0x20_0000, 44, 1, 0);
            guest.driver.make_available(TX, 0);
        },
        |guest| guest.driver.make_available(TX, 9999),
        |guest| guest.driver.set_available_index(TX, 5000),
        |guest| {
            guest.driver.add(RX, &[Part::Write(HEADER_SIZE as u32)]);
            let stray = guest.stray();
            guest.driver.add(TX, &[Part::Read(&stray.encode())]);
        },
        |guest| {
            guest.driver.add(RX, &[Part::Read(&[0; 4096])]);
            let stray = guest.stray();
            guest.driver.add(TX, &[Part::Read(&stray.encode())]);
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut guest = Guest::starved();
        way(&mut guest);
        guest.driver.kick(TX);
        guest.driver.wait_needs_reset();
        let mut guest = guest.restart();
        guest.connect(number as u32);
    }
}

#[test]
fn what_a_guest_can_make_the_device_keep_is_bounded() {
    // Everything that grows with what a guest does: backlogs and the packets that wait for it.
    const MOST: usize = MAX_CONNECTIONS * BUFFER_SIZE as usize + MAX_RESETS * size_of::<Header>();
    const { assert!(MOST <= 33 << 20) };
}

/// Every limit on descriptors that a test may meet is the process's own.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 16), hard).unwrap();
}

fn any_header() -> impl Strategy<Value = Header> {
    let cid = || prop_oneof![8 => Just(u64::from(CID)), 1 => Just(0u64), 1 => any::<u64>()];
    let host = prop_oneof![8 => Just(HOST_CID), 1 => any::<u64>()];
    let port = || prop_oneof![4 => 0u32..3, 1 => any::<u32>()];
    let kind = prop_oneof![8 => Just(TYPE_STREAM), 1 => any::<u16>()];
    let operation = prop_oneof![4 => Just(op::REQUEST), 8 => 0u16..9, 1 => any::<u16>()];
    let number = || prop_oneof![0u32..200_000, any::<u32>()];
    (cid(), host, port(), port(), kind, operation, 0u32..5, number(), number()).prop_map(
        |(src_cid, dst_cid, src_port, dst_port, kind, op, flags, buf_alloc, fwd_cnt)| Header {
            src_cid,
            dst_cid,
            src_port,
            dst_port,
            len: 0,
            kind,
            op,
            flags,
            buf_alloc,
            fwd_cnt,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Any packets at all: no panic, no broken device, and a connection can still be made.
    #[test]
    fn garbage_is_survived(
        packets in prop::collection::vec((any_header(), 0usize..70_000, prop::option::of(any::<u32>())), 1..60),
        host_writes in any::<bool>(),
    ) {
        let mut guest = Guest::new();
        let launcher = guest.launcher.as_ref().unwrap().try_clone().unwrap();
        let mut hosts = Vec::new();
        let accept = |guest: &Guest, hosts: &mut Vec<_>| {
            let mut wait = [PollFd::new(launcher.as_fd(), PollFlags::POLLIN)];
            while poll(&mut wait, PollTimeout::ZERO).unwrap() == 1 {
                let (_, mut host) = guest.dialled();
                host.set_nonblocking(true).unwrap();
                if host_writes {
                    let _ = std::io::Write::write(&mut host, &noise(50_000));
                }
                hosts.push(host);
            }
        };
        for (header, length, claimed) in packets {
            let header = Header { len: claimed.unwrap_or(length as u32), ..header };
            guest.send(&header, &noise(length));
            accept(&guest, &mut hosts);
            if hosts.len() % 3 == 2 {
                let mut bytes = [0; 5000];
                let read = hosts[0].read(&mut bytes);
                prop_assert!(read.is_ok() || read.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset)));
                hosts.remove(1);
            }
            while guest.try_next().is_some() {}
        }
        prop_assert!(!guest.driver.needs_reset());
        guest.settle();
        accept(&guest, &mut hosts);
        guest.request(77_777);
        loop {
            let (header, _) = guest.next();
            if header.src_port == 77_777 {
                prop_assert_eq!(header.op, op::RESPONSE);
                break;
            }
        }
        prop_assert!(launcher.as_raw_fd() >= 0);
    }
}
