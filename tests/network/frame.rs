//! Frames by hand.

use std::net::Ipv4Addr;

pub type Frame = Vec<u8>;

pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A datagram that arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: (Ipv4Addr, u16),
    pub to: (Ipv4Addr, u16),
    pub text: String,
}

pub fn ethernet((from, to): ([u8; 6], [u8; 6]), protocol: u16, content: &[u8]) -> Frame {
    [&to[..], &from, &protocol.to_be_bytes(), content].concat()
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

pub fn ipv4(macs: ([u8; 6], [u8; 6]), protocol: u8, from: Ipv4Addr, to: Ipv4Addr, content: &[u8]) -> Frame {
    let length = (20 + content.len()) as u16;
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    ethernet(macs, 0x0800, &[&header, content].concat())
}

/// An echo request.
pub fn ping(macs: ([u8; 6], [u8; 6]), from: Ipv4Addr, to: Ipv4Addr) -> Frame {
    let mut content = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = checksum(&content);
    content[2..4].copy_from_slice(&sum);
    ipv4(macs, 1, from, to, &content)
}

/// An echo request.
pub fn ping6(macs: ([u8; 6], [u8; 6]), from: std::net::Ipv6Addr, to: std::net::Ipv6Addr) -> Frame {
    let mut content = vec![128, 0, 0, 0, 0, 1, 0, 1];
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 0, 0, 8, 0, 0, 0, 58]].concat();
    let sum = checksum(&[&pseudo[..], &content].concat());
    content[2..4].copy_from_slice(&sum);
    ipv6(macs, 58, from, to, &content)
}

/// Without a checksum, as UDP over IPv4 allows.
pub fn udp(macs: ([u8; 6], [u8; 6]), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Frame {
    let mut content = Vec::new();
    content.extend(from.1.to_be_bytes());
    content.extend(to.1.to_be_bytes());
    content.extend(((8 + payload.len()) as u16).to_be_bytes());
    content.extend([0, 0]);
    content.extend(payload);
    ipv4(macs, 17, from.0, to.0, &content)
}

pub fn parse_udp(frame: &[u8]) -> Option<Datagram> {
    if frame.get(12..14)? != [8, 0] || *frame.get(23)? != 17 {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    let port = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let length = usize::from(port(38)?);
    let text = String::from_utf8_lossy(frame.get(42..34 + length)?).into_owned();
    Some(Datagram { from: (address(26)?, port(34)?), to: (address(30)?, port(36)?), text })
}

/// `operation` is 1 for a question and 2 for an answer.
pub fn arp(
    macs: ([u8; 6], [u8; 6]),
    operation: u8,
    sender: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
) -> Frame {
    let mut content = vec![0, 1, 8, 0, 6, 4, 0, operation];
    content.extend(sender.0);
    content.extend(sender.1.octets());
    content.extend(target.0);
    content.extend(target.1.octets());
    ethernet(macs, 0x0806, &content)
}

/// With the checksum that UDP over IPv6 needs.
pub fn udp6(
    macs: ([u8; 6], [u8; 6]),
    from: (std::net::Ipv6Addr, u16),
    to: (std::net::Ipv6Addr, u16),
    payload: &[u8],
) -> Frame {
    let length = ((8 + payload.len()) as u16).to_be_bytes();
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    let pseudo = [&from.0.octets()[..], &to.0.octets(), &[0, 0], &length, &[0, 0, 0, 17]].concat();
    let sum = checksum(&[&pseudo[..], &ports, &length, &[0, 0], payload].concat());
    ipv6(macs, 17, from.0, to.0, &[&ports[..], &length, &sum, payload].concat())
}

/// The text of a datagram over IPv6.
pub fn parse_udp6(frame: &[u8]) -> Option<String> {
    let is_udp = frame.get(12..14)? == [0x86, 0xdd] && *frame.get(20)? == 17;
    is_udp.then(|| String::from_utf8_lossy(&frame[62..]).into_owned())
}

pub fn ipv6(
    macs: ([u8; 6], [u8; 6]),
    protocol: u8,
    from: std::net::Ipv6Addr,
    to: std::net::Ipv6Addr,
    content: &[u8],
) -> Frame {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((content.len() as u16).to_be_bytes());
    header.extend([protocol, 255]);
    header.extend(from.octets());
    header.extend(to.octets());
    ethernet(macs, 0x86dd, &[&header, content].concat())
}
