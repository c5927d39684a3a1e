//! Against a driver in plain memory, with a pair of packet sockets in place of each tap: the header in front of a frame
//! is then just bytes.

mod waiting;

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use proptest::prelude::*;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::testutil::{Driver, Part};

const MERGEABLE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
const HEADER: [u8; HEADER_BYTES] = [0; HEADER_BYTES];
/// A byte that nothing has written to.
const UNTOUCHED: u8 = 0;

const CARD: NetworkCard =
    NetworkCard { mac: [2, 0x42, 0xac, 0x11, 0, 2], mtu: 1500, receive: None, send: None };

fn net(pairs: usize, card: &NetworkCard) -> (Net, Vec<UnixDatagram>) {
    let (mut taps, mut hosts) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (tap, host) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        taps.push(Tap::stand_in(tap));
        hosts.push(host.into());
    }
    (Net::new(place::server("net-test").unwrap(), taps, card), hosts)
}

fn start(features: u64) -> (Driver, UnixDatagram) {
    let (net, mut hosts) = net(1, &CARD);
    (Driver::start(net, features), hosts.pop().unwrap())
}

fn receive(host: &UnixDatagram) -> Vec<u8> {
    let mut bytes = vec![0; MAX_FRAME as usize];
    let length = host.recv(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// A header and so many bytes that say which frame this is.
fn frame(number: usize, length: usize) -> Vec<u8> {
    [&HEADER[..], &vec![number as u8 | 1; length]].concat()
}

/// Queue numbers of the first pair.
const RX: usize = 0;
const TX: usize = 1;

#[test]
fn frames_from_the_guest_go_out_as_they_are() {
    let (mut driver, host) = start(MERGEABLE);
    for (number, length) in [(1, 60), (2, 1514), (3, 65_000)] {
        let bytes = frame(number, length);
        let parts = [Part::Read(&bytes[..7]), Part::Read(&bytes[7..12]), Part::Read(&bytes[12..])];
        let head = driver.add(TX, &parts);
        driver.kick(TX);
        assert!(receive(&host) == bytes, "{length}");
        assert_eq!(driver.wait_used(TX), (head, 0));
    }
}

#[test]
fn what_is_no_frame_is_dropped_and_its_buffer_given_back() {
    let (mut driver, host) = start(MERGEABLE);
    let (short, long) = (frame(1, 13), frame(1, MAX_FRAME as usize));
    for bytes in [&short[..5], &short, &long, &[1]] {
        let head = driver.add(TX, &[Part::Read(bytes)]);
        driver.kick(TX);
        assert_eq!(driver.wait_used(TX), (head, 0));
    }
    let bytes = frame(9, 14);
    driver.add(TX, &[Part::Read(&bytes)]);
    driver.kick(TX);
    assert_eq!(receive(&host), bytes);
}

#[test]
fn frames_for_the_guest_fill_as_many_buffers_as_they_need() {
    for event_idx in [0, EVENT_IDX] {
        // Without these no frame is larger than the MTU.
        let segments = 1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_TSO4;
        let (mut driver, host) = start(MERGEABLE | segments | event_idx);
        let heads: Vec<u16> =
            (0..100).map(|_| driver.add(RX, &[Part::Write(20), Part::Write(1480)])).collect();
        driver.kick(RX);
        let mut heads = heads.into_iter();
        for (number, length, buffers) in [(3, 60, 1), (5, 1488, 1), (7, 1489, 2), (9, 5000, 4)] {
            let bytes = frame(number, length);
            host.send(&bytes).unwrap();
            let mut seen = Vec::new();
            for part in 0..buffers {
                let (head, written) = driver.wait_used(RX);
                assert_eq!(Some(head), heads.next());
                assert_eq!(written, (bytes.len() as u32 - part * 1500).min(1500));
                let buffer = driver.written(head);
                assert!(buffer[written as usize..].iter().all(|byte| *byte == UNTOUCHED));
                seen.extend_from_slice(&buffer[..written as usize]);
            }
            assert_eq!(seen[10..12], [buffers as u8, 0]);
            seen[10] = 0;
            assert!(seen == bytes, "{length}");
            assert!(driver.try_used(RX).is_none());
        }
    }
}

#[test]
fn without_merging_a_frame_has_one_buffer() {
    let (mut driver, host) = start(0);
    for _ in 0..2 {
        driver.add(RX, &[Part::Write(12), Part::Write(1600)]);
    }
    driver.kick(RX);
    for length in [1514, 3000] {
        host.send(&frame(1, length)).unwrap();
        let (head, written) = driver.wait_used(RX);
        assert_eq!(written, (length as u32 + 12).min(1612));
        assert_eq!(driver.written(head)[10..12], [1, 0]);
    }
}

/// The flood stays where it is, and all of it that the host kept arrives later, in order.
#[test]
fn a_flood_without_buffers_waits_outside() {
    let (mut driver, host) = start(MERGEABLE);
    host.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let full = loop {
        match host.send(&frame(sent, 200)) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    // Buffers for less than one of the largest frames are not enough to read one.
    driver.add(RX, &[Part::Write(1000)]);
    driver.kick(RX);
    let mut seen = 0;
    let mut offered = 1;
    while seen < sent {
        while offered < seen + 100 {
            driver.add(RX, &[Part::Write(1000)]);
            offered += 1;
        }
        driver.kick(RX);
        let (head, written) = driver.wait_used(RX);
        assert_eq!(written, 212);
        assert_eq!(driver.written(head)[12], seen as u8 | 1, "frame {seen}");
        seen += 1;
    }
    assert!(driver.try_used(RX).is_none());
}

#[test]
fn a_host_that_does_not_read_stops_the_guest_and_nothing_is_lost() {
    let (mut driver, host) = start(MERGEABLE);
    const FRAMES: usize = 200;
    for number in 0..FRAMES {
        driver.add(TX, &[Part::Read(&frame(number, 3000))]);
    }
    driver.kick(TX);
    // Meanwhile the other direction works.
    for _ in 0..100 {
        driver.add(RX, &[Part::Write(1500)]);
    }
    driver.kick(RX);
    host.send(&frame(77, 100)).unwrap();
    assert_eq!(driver.wait_used(RX).1, 112);
    for number in 0..FRAMES {
        assert_eq!(receive(&host)[12], number as u8 | 1);
    }
    for _ in 0..FRAMES {
        driver.wait_used(TX);
    }
    assert!(!driver.needs_reset());
}

#[test]
fn the_control_queue_takes_numbers_of_pairs_and_refuses_the_rest() {
    let (net, hosts) = net(3, &CARD);
    assert_eq!(net.queue_sizes(), [256, 256, 256, 256, 256, 256, 16]);
    const CONTROL: usize = 6;
    let mut driver = Driver::start(net, MERGEABLE | 1 << VIRTIO_NET_F_MQ | 1 << VIRTIO_NET_F_CTRL_VQ);
    for (command, answer) in [
        (&[4, 0, 1, 0][..], 0),
        (&[4, 0, 3, 0], 0),
        (&[4, 0, 0, 0], 1),
        (&[4, 0, 4, 0], 1),
        (&[4, 0, 1, 1], 1),
        (&[4, 0, 1], 1),
        (&[4, 0, 1, 0, 0], 1),
        (&[4, 1, 1, 0], 1),
        (&[1, 0, 0], 1),
        (&[0xff; 200], 1),
    ] {
        let head =
            driver.add(CONTROL, &[Part::Read(&command[..2]), Part::Read(&command[2..]), Part::Write(1)]);
        driver.kick(CONTROL);
        assert_eq!(driver.wait_used(CONTROL), (head, 1));
        assert_eq!(driver.written(head), [answer], "{command:?}");
    }
    for (number, host) in hosts.iter().enumerate() {
        let bytes = frame(number, 100);
        driver.add(2 * number + TX, &[Part::Read(&bytes)]);
        driver.kick(2 * number + TX);
        assert_eq!(receive(host), bytes);
        for _ in 0..60 {
            driver.add(2 * number, &[Part::Write(2000)]);
        }
        driver.kick(2 * number);
        host.send(&bytes).unwrap();
        assert_eq!(driver.wait_used(2 * number).1, 112);
    }
    driver.add(CONTROL, &[Part::Read(&[4, 0, 1, 0])]);
    driver.kick(CONTROL);
    driver.wait_needs_reset();
}

#[test]
fn the_configuration_space_holds_address_state_pairs_and_mtu() {
    let (net, _) = net(2, &CARD);
    let mut config = [9; 14];
    net.read_config(0, &mut config);
    assert_eq!(config, [2, 0x42, 0xac, 0x11, 0, 2, 1, 0, 2, 0, 0xdc, 5, 0, 0]);
    net.read_config(u64::MAX, &mut config);
    assert_eq!(config, [0; 14]);
    let (single, _) = super::tests::net(1, &CARD);
    assert!(has(net.features(), VIRTIO_NET_F_MQ) && !has(single.features(), VIRTIO_NET_F_MQ));
    assert_eq!((place::queues(1), place::queues(2)), (single.queue_sizes().len(), net.queue_sizes().len()));
}

#[test]
fn offloads_are_those_that_make_sense_together() {
    let all = 1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_TSO4 | 1 << VIRTIO_NET_F_GUEST_ECN;
    assert_eq!(offloads(all), libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO_ECN);
    assert_eq!(offloads(all & !(1 << VIRTIO_NET_F_GUEST_CSUM)), 0);
    assert_eq!(offloads(all & !(1 << VIRTIO_NET_F_GUEST_TSO4)), libc::TUN_F_CSUM);
    assert_eq!(offloads(u64::MAX) & libc::TUN_F_UFO, 0);
}

#[test]
fn chains_that_make_no_sense_stop_the_device_until_it_is_reset() {
    // Outside memory, without room for a header, not to be written; then outside memory, unreadable behind readable.
    type Parts = &'static [(u64, u32, bool)];
    let broken: [(usize, Parts); 6] = [
        (RX, &[(1 << 40, 2000, true)]),
        (RX, &[(u64::MAX - 10, 2000, true)]),
        (RX, &[(0x20_0000, 11, true)]),
        (RX, &[(0x20_0000, 2000, true), (0x30_0000, 2000, false)]),
        (TX, &[(u64::MAX - 3, 100, false)]),
        (TX, &[(0x20_0000, 16, true), (0x20_0000, 100, false)]),
    ];
    let (mut driver, host) = start(MERGEABLE);
    for (queue, chain) in broken {
        driver.add_raw(queue, chain);
        driver.kick(queue);
        if queue == RX {
            // Looked at when there is a frame.
            host.send(&frame(1, 100)).unwrap();
        }
        driver.wait_needs_reset();
        driver = driver.restart();
    }
    driver.set_available_index(TX, 257);
    driver.kick(TX);
    driver.wait_needs_reset();
    let mut driver = driver.restart();
    let bytes = frame(1, 100);
    driver.add(TX, &[Part::Read(&bytes)]);
    driver.kick(TX);
    assert_eq!(receive(&host), bytes);
}

/// Frames that were read into buffers of before the reset do not come after it.
#[test]
fn a_reset_takes_the_buffers_away() {
    let (mut driver, host) = start(MERGEABLE);
    for round in 0..20 {
        for _ in 0..100 {
            driver.add(RX, &[Part::Write(1500)]);
        }
        driver.kick(RX);
        host.send(&frame(round, 600)).unwrap();
        if round % 2 == 0 {
            driver.wait_used(RX);
        }
        let memory = driver.memory().clone();
        driver = driver.restart();
        // A frame that was under way is in the old memory by now, or lost.
        memory.write_slice(&vec![0xee; 1 << 20], GuestAddress(0x10_0000)).unwrap();
        host.send(&frame(round, 600)).unwrap();
        let mut bytes = vec![0; 1 << 20];
        memory.read_slice(&mut bytes, GuestAddress(0x10_0000)).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0xee));
    }
}

/// Any descriptor, but often one that is nearly right.
fn descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let address = prop_oneof![4 => 0x10_0000u64..0x20_0000, 1 => 0x1_0000u64..0x3_0000, 1 => any::<u64>()];
    let length = prop_oneof![4 => 0u32..3000, 1 => any::<u32>()];
    (address, length, prop_oneof![3 => 0u16..4, 1 => 0u16..8], prop_oneof![3 => 0u16..8, 1 => any::<u16>()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing that a driver puts into its rings makes the device panic, and a reset mends everything.
    #[test]
    fn garbage_is_survived(
        table in prop::collection::vec(descriptor(), 8),
        chains in prop::collection::vec((0usize..5, any::<bool>(), prop_oneof![5 => 0u16..8, 1 => any::<u16>()]), 1..40),
        features in any::<u64>(),
    ) {
        let (net, hosts) = net(2, &CARD);
        let mut driver = Driver::start(net, features);
        for queue in 0..5 {
            for (number, (address, length, flags, next)) in (0..).zip(&table) {
                driver.set_descriptor(queue, number, *address, *length, *flags, *next);
            }
        }
        for (queue, frames, head) in chains {
            driver.make_available(queue, head);
            driver.kick(queue);
            if frames {
                let _ = hosts[0].send(&frame(1, 700));
            }
        }
        let mut driver = driver.restart();
        hosts[1].set_nonblocking(true).unwrap();
        while hosts[1].recv(&mut [0; 16]).is_ok() {}
        hosts[1].set_nonblocking(false).unwrap();
        let bytes = frame(1, 100);
        driver.add(3, &[Part::Read(&bytes)]);
        driver.kick(3);
        prop_assert_eq!(receive(&hosts[1]), bytes);
    }
}
