//! What a well-behaved guest can rely on.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use vm_memory::{Bytes, GuestAddress};

use super::super::connection::BUFFER_SIZE;
use super::super::header::{HEADER_SIZE, Header, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op};
use super::guest::{CID, Guest, RX, RX_PAYLOAD, Stream, TX, noise};
use crate::virtio::device::VirtioDevice;
use crate::virtio::testutil::Part;

/// Reads packets of `stream` until one with `wanted` comes; returns it and the payload on the way.
fn until(guest: &mut Guest, stream: &mut Stream, wanted: u16) -> (Header, Vec<u8>) {
    let mut payload = Vec::new();
    loop {
        let (header, part) = guest.next();
        payload.extend(part);
        if stream.note(&header) == wanted {
            return (header, payload);
        }
    }
}

/// Fills the socket and the backlog; returns what was sent.
fn send_until_stuck(guest: &mut Guest, stream: &mut Stream) -> Vec<u8> {
    let mut sent = Vec::new();
    loop {
        let part = noise(stream.credit().min(16 << 10));
        if part.is_empty() {
            // Let the device catch up: credit that is on its way counts.
            std::thread::sleep(std::time::Duration::from_millis(50));
            match guest.try_next() {
                Some((header, _)) => assert_eq!(stream.note(&header), op::CREDIT_UPDATE),
                None => return sent,
            }
            continue;
        }
        guest.say(stream, op::RW, 0, &part);
        sent.extend(part);
        while let Some((header, _)) = guest.try_next() {
            assert_eq!(stream.note(&header), op::CREDIT_UPDATE);
        }
    }
}

#[test]
fn the_configuration_space_holds_the_cid_and_nothing_else() {
    let (_launcher, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let device = super::super::Vsock::new(CID, theirs.into()).unwrap();
    let mut bytes = [0xff; 12];
    device.read_config(0, &mut bytes);
    assert_eq!(bytes, [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for offset in [8, 9, u64::MAX] {
        bytes.fill(0xff);
        device.read_config(offset, &mut bytes);
        assert_eq!(bytes, [0; 12]);
    }
}

#[test]
fn connects_and_carries_bytes_both_ways() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(5000);
    assert_eq!(stream.host_buffer, BUFFER_SIZE);
    guest.say(&mut stream, op::RW, 0, b"to the host");
    let mut bytes = [0; 11];
    stream.host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
    stream.host.write_all(b"to the guest").unwrap();
    let (header, payload) = guest.next();
    assert_eq!((header.op, payload.as_slice()), (op::RW, b"to the guest".as_slice()));
    assert_eq!(header.fwd_cnt, 11);
    guest.say(&mut stream, op::CREDIT_REQUEST, 0, &[]);
    let (header, _) = guest.next();
    assert_eq!((header.op, header.buf_alloc, header.fwd_cnt), (op::CREDIT_UPDATE, BUFFER_SIZE, 11));
    guest.quiet();
}

#[test]
fn packets_may_lie_anywhere_in_their_buffers() {
    let mut guest = Guest::starved();
    let header = Header { op: op::REQUEST, ..request() }.encode();
    guest.driver.add(TX, &[Part::Read(&header[..7]), Part::Read(&header[7..])]);
    guest.driver.add(RX, &[Part::Write(10), Part::Write(50), Part::Write(3), Part::Write(200)]);
    guest.driver.kick(TX);
    let (_, mut host) = guest.dialled();
    let (head, length) = guest.driver.wait_used(RX);
    assert_eq!(length as usize, HEADER_SIZE);
    let answer = Header::decode(guest.driver.written(head)[..HEADER_SIZE].try_into().unwrap());
    assert_eq!(answer.op, op::RESPONSE);

    let data = Header { op: op::RW, len: 6, ..request() }.encode();
    let parts = [
        Part::Read(&data[..40]),
        Part::Read(&data[40..]),
        Part::Read(b"ab"),
        Part::Read(b""),
        Part::Read(b"cdefIGNORED"),
    ];
    guest.driver.add(TX, &parts);
    guest.driver.kick(TX);
    let mut bytes = [0; 6];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"abcdef");

    let head = guest.driver.add(RX, &[Part::Write(10), Part::Write(40), Part::Write(3), Part::Write(200)]);
    guest.driver.kick(RX);
    host.write_all(b"0123456789").unwrap();
    let (used, length) = guest.driver.wait_used(RX);
    assert_eq!((used, length as usize), (head, HEADER_SIZE + 10));
    assert_eq!(&guest.driver.written(head)[HEADER_SIZE..HEADER_SIZE + 10], b"0123456789");
}

fn request() -> Header {
    Header {
        src_cid: CID.into(),
        dst_cid: 2,
        src_port: 9,
        dst_port: 10,
        kind: 1,
        buf_alloc: 1 << 20,
        ..Header::default()
    }
}

#[test]
fn megabytes_to_a_slow_host_arrive_whole() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(1);
    let data = noise(8 << 20);
    let expected = data.clone();
    let mut host = stream.host.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = vec![0; 100_000];
        loop {
            let count = host.read(&mut buffer).unwrap();
            if count == 0 {
                return seen;
            }
            seen.extend_from_slice(&buffer[..count]);
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    });
    let mut rest = data.as_slice();
    while !rest.is_empty() {
        let count = stream.credit().min(rest.len());
        if count == 0 {
            let (header, _) = guest.next();
            stream.note(&header);
            continue;
        }
        guest.say(&mut stream, op::RW, 0, &rest[..count]);
        rest = &rest[count..];
        while let Some((header, _)) = guest.try_next() {
            stream.note(&header);
        }
    }
    guest.say(&mut stream, op::SHUTDOWN, SHUTDOWN_SEND, &[]);
    assert!(reader.join().unwrap() == expected, "bytes were lost or changed");
}

#[test]
fn a_host_that_does_not_read_stops_its_stream_alone() {
    let mut guest = Guest::new();
    let mut stuck = guest.connect(1);
    let sent = send_until_stuck(&mut guest, &mut stuck);
    assert_eq!(stuck.credit(), 0);
    let mut other = guest.connect(2);
    guest.say(&mut other, op::RW, 0, b"alive");
    let mut bytes = [0; 5];
    other.host.read_exact(&mut bytes).unwrap();
    // The first goes on where it was.
    let mut seen = vec![0; sent.len()];
    stuck.host.read_exact(&mut seen).unwrap();
    assert!(seen == sent);
    until(&mut guest, &mut stuck, op::CREDIT_UPDATE);
    assert!(stuck.credit() > 0);
}

#[test]
fn megabytes_to_a_slow_guest_arrive_whole_and_within_its_credit() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(1);
    stream.buffer = 10_000;
    guest.say(&mut stream, op::CREDIT_UPDATE, 0, &[]);
    let data = noise(3 << 20);
    let expected = data.clone();
    let mut host = stream.host.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        host.write_all(&data).unwrap();
        host.shutdown(Shutdown::Write).unwrap();
    });
    let mut seen = Vec::new();
    let mut asked = 0;
    loop {
        let (header, payload) = guest.next();
        seen.extend(payload);
        match header.op {
            op::RW => assert!(seen.len() - stream.received as usize <= 10_000, "more than the credit"),
            op::CREDIT_REQUEST => {
                asked += 1;
                stream.received = seen.len() as u32;
                guest.say(&mut stream, op::CREDIT_UPDATE, 0, &[]);
            }
            op::SHUTDOWN => break assert_eq!(header.flags, SHUTDOWN_SEND),
            other => panic!("operation {other}"),
        }
    }
    writer.join().unwrap();
    assert!(seen == expected, "bytes were lost or changed");
    assert!(asked >= expected.len() / 10_000);
}

#[test]
fn a_guest_without_receive_buffers_gets_everything_later() {
    let mut guest = Guest::starved();
    let request = guest.request(3);
    let (_, mut host) = guest.dialled();
    host.write_all(&noise(3 * RX_PAYLOAD)).unwrap();
    guest.quiet();
    let mut seen = Vec::new();
    let mut operations = Vec::new();
    for _ in 0..4 {
        guest.post(1);
        loop {
            if let Some((header, payload)) = guest.try_take() {
                assert_eq!(header.dst_port, request.src_port);
                operations.push(header.op);
                seen.extend(payload);
                break;
            }
        }
    }
    assert_eq!(operations, [op::RESPONSE, op::RW, op::RW, op::RW]);
    assert!(seen == noise(3 * RX_PAYLOAD));
}

#[test]
fn connections_take_turns() {
    let mut guest = Guest::starved();
    let ports: Vec<_> = (0..4).map(|port| guest.request(port).src_port).collect();
    let mut hosts: Vec<_> = (0..4).map(|_| guest.dialled().1).collect();
    guest.post(4);
    for _ in 0..4 {
        while guest.try_take().is_none() {}
    }
    for host in &mut hosts {
        host.write_all(&noise(10 * RX_PAYLOAD)).unwrap();
    }
    // Everyone's bytes are there; the buffers come one by one.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut turns = BTreeMap::new();
    for _ in 0..20 {
        guest.post(1);
        let (header, _) = loop {
            if let Some(packet) = guest.try_take() {
                break packet;
            }
        };
        *turns.entry(header.dst_port).or_insert(0) += 1;
    }
    assert_eq!(turns, ports.iter().map(|port| (*port, 5)).collect());
}

#[test]
fn the_host_ends_its_direction_and_the_guest_goes_on() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(1);
    stream.host.write_all(b"last words").unwrap();
    stream.host.shutdown(Shutdown::Write).unwrap();
    let (header, payload) = until(&mut guest, &mut stream, op::SHUTDOWN);
    assert_eq!((header.flags, payload.as_slice()), (SHUTDOWN_SEND, b"last words".as_slice()));
    guest.say(&mut stream, op::RW, 0, b"an answer");
    guest.say(&mut stream, op::SHUTDOWN, SHUTDOWN_SEND, &[]);
    assert_eq!(stream.read_to_end(), b"an answer");
    assert_eq!(guest.next().0.op, op::RST);
    guest.quiet();
}

#[test]
fn the_guest_ends_its_direction_and_the_host_goes_on() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(1);
    guest.say(&mut stream, op::RW, 0, b"last words");
    guest.say(&mut stream, op::SHUTDOWN, SHUTDOWN_SEND, &[]);
    assert_eq!(stream.read_to_end(), b"last words");
    stream.host.write_all(b"an answer").unwrap();
    let (header, payload) = guest.next();
    assert_eq!((header.op, payload.as_slice()), (op::RW, b"an answer".as_slice()));
    drop(stream);
    assert_eq!(guest.next().0.op, op::RST);
}

#[test]
fn the_guest_stops_listening_and_the_host_hears_it() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(1);
    guest.say(&mut stream, op::SHUTDOWN, SHUTDOWN_RECEIVE, &[]);
    guest.say(&mut stream, op::RW, 0, b"still sending");
    let mut bytes = [0; 13];
    stream.host.read_exact(&mut bytes).unwrap();
    assert_eq!(stream.host.write_all(b"no one listens").unwrap_err().kind(), ErrorKind::BrokenPipe);
    guest.say(&mut stream, op::SHUTDOWN, SHUTDOWN_SEND, &[]);
    assert_eq!(until(&mut guest, &mut stream, op::RST).1, b"");
    assert_eq!(stream.read_to_end(), b"");
}

#[test]
fn a_closing_host_loses_nothing_that_it_wrote() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(1);
    guest.say(&mut stream, op::RW, 0, b"the host will never read this");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let data = noise(100_000);
    let (_, mut stand_in) = std::os::unix::net::UnixStream::pair().unwrap();
    std::mem::swap(&mut stand_in, &mut stream.host);
    stand_in.write_all(&data).unwrap();
    drop(stand_in);
    let (_, payload) = until(&mut guest, &mut stream, op::RST);
    assert!(payload == data);
    // The connection is gone, and the guest is told so if it goes on.
    guest.say(&mut stream, op::RW, 0, b"hello?");
    assert_eq!(guest.next().0.op, op::RST);
}

#[test]
fn a_closing_guest_loses_nothing_that_it_sent() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(1);
    let sent = send_until_stuck(&mut guest, &mut stream);
    guest.say(&mut stream, op::SHUTDOWN, SHUTDOWN_RECEIVE | SHUTDOWN_SEND, &[]);
    guest.quiet();
    assert!(stream.read_to_end() == sent);
    assert_eq!(guest.next().0.op, op::RST);
    // The same when it does not wait for that.
    let mut stream = guest.connect(1);
    let sent = send_until_stuck(&mut guest, &mut stream);
    guest.say(&mut stream, op::RST, 0, &[]);
    assert!(stream.read_to_end() == sent);
    guest.quiet();
}

#[test]
fn a_reset_closes_everything_and_the_device_works_again() {
    let mut guest = Guest::new();
    let mut streams: Vec<_> = (0..5).map(|port| guest.connect(port)).collect();
    for stream in &mut streams {
        send_until_stuck(&mut guest, stream);
    }
    for stream in &mut streams {
        stream.host.set_nonblocking(true).unwrap();
        let _ = stream.host.write(&noise(1 << 20));
        stream.host.set_nonblocking(false).unwrap();
    }
    let mut guest = guest.restart();
    for stream in &mut streams {
        // Ends, with an error or without; it must not wait.
        let _ = stream.host.read_to_end(&mut Vec::new());
    }
    let mut stream = guest.connect(1);
    guest.say(&mut stream, op::RW, 0, b"again");
    let mut bytes = [0; 5];
    stream.host.read_exact(&mut bytes).unwrap();
    assert_eq!(guest.driver.memory().read_obj::<u8>(GuestAddress(0)).unwrap(), 0);
}

#[test]
fn a_pause_loses_no_bytes_and_no_connection() {
    let mut guest = Guest::new();
    let mut stream = guest.connect(7);
    for round in 0..10 {
        guest.driver.lifecycle().pause().unwrap();
        stream.host.write_all(b"from the host").unwrap();
        guest.say(&mut stream, op::RW, 0, b"from the guest");
        assert_eq!(guest.try_next(), None, "round {round}");
        guest.driver.lifecycle().resume().unwrap();
        let mut heard = [0; 14];
        stream.host.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"from the guest");
        let (header, payload) = guest.next();
        assert_eq!((stream.note(&header), payload.as_slice()), (op::RW, b"from the host".as_slice()));
        stream.received += payload.len() as u32;
    }
}
