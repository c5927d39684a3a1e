//! The same walls for IPv6.

use std::net::{Ipv6Addr, UdpSocket};

use moat::network::CreateNetwork;
use moat::network::mac::link_local;

use crate::frame::{self, Frame};
use crate::host::{Guest, Host, alone, on};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const TO_ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

fn pair(host: &Host) -> (Guest, Guest) {
    let wanted = CreateNetwork { name: "six".to_owned(), ipv6: true, ..CreateNetwork::default() };
    host.networks.create(wanted).unwrap();
    (host.run("a", on("six")), host.run("b", on("six")))
}

fn address(guest: &Guest) -> Ipv6Addr {
    guest.attached.attachment.endpoints[0].ipv6.expect("IPv6").addr()
}

fn local(guest: &Guest) -> Ipv6Addr {
    link_local(guest.attached.attachment.endpoints[0].mac)
}

/// An ICMPv6 message to all nodes. Its checksum is wrong, which nobody on the way looks at.
fn to_all(guest: &Guest, from: Ipv6Addr, kind: u8, body: &[u8]) -> Frame {
    let content = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], body].concat();
    frame::ipv6((guest.mac(), TO_ALL_NODES), 58, from, ALL_NODES, &content)
}

#[test]
fn nobody_plays_the_router_or_another_neighbour() {
    alone(|| {
        let host = Host::new();
        let (one, two) = pair(&host);
        let gateway = one.attached.attachment.endpoints[0].gateway6.expect("IPv6");
        let send = |from, kind, body: &[u8]| one.cable().send(&to_all(&one, from, kind, body));
        // A router's advertisement and redirection; the address of the gateway, of another; a question as another; a claim
        // while nobody has an address yet.
        send(local(&one), 134, &[0; 8]);
        send(local(&one), 137, &[0; 32]);
        send(address(&one), 136, &gateway.octets());
        send(address(&one), 136, &address(&two).octets());
        send(address(&two), 135, &gateway.octets());
        send(Ipv6Addr::UNSPECIFIED, 135, &address(&two).octets());
        send(address(&one), 136, &address(&one).octets());
        let seen = two.cable().receive(|frame| {
            let from_one = frame[6..12] == one.mac() && frame[12..14] == [0x86, 0xdd];
            (from_one && frame[20] == 58).then(|| (frame[54], frame[62..78].to_vec()))
        });
        assert_eq!(seen, (136, address(&one).octets().to_vec()));
    });
}

#[test]
fn addresses_cannot_be_forged_and_networks_without_ipv6_have_none() {
    alone(|| {
        let host = Host::new();
        let (one, two) = pair(&host);
        let (three, four) = (host.run("c", on("bridge")), host.run("d", on("bridge")));
        let datagram = |guest: &Guest, from: Ipv6Addr, text: &str| {
            let udp = [&[0, 1, 0, 9, 0, 8 + text.len() as u8, 0, 0][..], text.as_bytes()].concat();
            frame::ipv6((guest.mac(), TO_ALL_NODES), 17, from, ALL_NODES, &udp)
        };
        one.cable().send(&datagram(&one, address(&two), "forged"));
        one.cable().send(&datagram(&one, address(&one), "true"));
        let text = |frame: &[u8], from: &Guest| {
            let is_it = frame[6..12] == from.mac() && frame[12..14] == [0x86, 0xdd] && frame[20] == 17;
            is_it.then(|| String::from_utf8_lossy(&frame[62..]).into_owned())
        };
        assert_eq!(two.cable().receive(|frame| text(frame, &one)), "true");
        three.cable().send(&datagram(&three, local(&three), "none"));
        three.cable().send(&frame::udp((three.mac(), four.mac()), (three.ip(), 1), (four.ip(), 9), b"IPv4"));
        let first = four.cable().receive(|frame| (frame[6..12] == three.mac()).then(|| frame.to_vec()));
        assert_eq!(first[12..14], [8, 0]);
    });
}

#[test]
fn ports_are_published_at_ipv6_addresses() {
    alone(|| {
        let host = Host::new();
        let wanted = CreateNetwork { name: "six".to_owned(), ipv6: true, ..CreateNetwork::default() };
        host.networks.create(wanted).unwrap();
        let mut request = crate::host::publishing(&["5353:53/udp"]);
        request.networks = on("six").networks;
        let guest = host.run("a", request);
        crate::host::ip("link add v6a type veth peer name v6b");
        crate::host::ip("link set v6a up");
        crate::host::ip("addr add 2001:db8::1/64 dev v6a nodad");
        let endpoint = &guest.attached.attachment.endpoints[0];
        crate::host::ip(&format!(
            "-6 neigh replace {} lladdr {} dev {}",
            address(&guest),
            endpoint.mac,
            endpoint.bridge
        ));
        let socket = UdpSocket::bind("[::]:0").unwrap();
        socket.send_to(b"question", "[2001:db8::1]:5353").unwrap();
        let to = guest.cable().receive(|frame| {
            let is_udp = frame[12..14] == [0x86, 0xdd] && frame[20] == 17;
            is_udp.then(|| (frame[38..54].to_vec(), frame[56..58].to_vec()))
        });
        assert_eq!(to, (address(&guest).octets().to_vec(), vec![0, 53]));
    });
}
