//! The same walls for IPv6.

use std::net::{Ipv6Addr, UdpSocket};

use moat_network::CreateNetwork;
use moat_network::mac::link_local;
use moat_test_harness::{Test, tests};

use crate::frame::{self, Frame};
use crate::host::{Guest, Host, alone, on};

pub const TESTS: &[Test] = tests![
    nobody_plays_the_router_or_another_neighbour,
    addresses_cannot_be_forged_and_networks_without_ipv6_have_none,
    ports_are_published_at_ipv6_addresses,
    nothing_hides_in_fragments,
    the_hosts_services_are_not_the_containers,
    networks_do_not_reach_each_other,
];

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

/// An ICMPv6 message to all nodes. Its checksum is wrong, which is not checked on the way.
fn to_all(guest: &Guest, from: Ipv6Addr, kind: u8, body: &[u8]) -> Frame {
    let content = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], body].concat();
    frame::ipv6((guest.mac(), TO_ALL_NODES), 58, from, ALL_NODES, &content)
}

fn nobody_plays_the_router_or_another_neighbour() {
    alone(|| {
        let host = Host::new();
        let (one, two) = pair(&host);
        let gateway = one.attached.attachment.endpoints[0].gateway6.expect("IPv6");
        let send = |from, kind, body: &[u8]| one.cable().send(&to_all(&one, from, kind, body));
        // A router's advertisement and redirection; the address of the gateway, of another; a question as another; a claim
        // before the container has an address.
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
        crate::host::own_v6("2001:db8::1", "v6a");
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

/// A fragment: where it begins, in units of eight bytes, and whether more follow.
fn fragment(guest: &Guest, next: u8, at: u16, more: bool, content: &[u8]) -> Frame {
    let [high, low] = (at << 3 | u16::from(more)).to_be_bytes();
    let content = [&[next, 0, high, low, 0, 0, 0, 1], content].concat();
    frame::ipv6((guest.mac(), TO_ALL_NODES), 44, address(guest), ALL_NODES, &content)
}

fn nothing_hides_in_fragments() {
    alone(|| {
        let host = Host::new();
        let (one, two) = pair(&host);
        // A host that has its other firewall look at frames puts fragments together, and the frames are others then.
        let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0");
        let send = |frame: &Frame| one.cable().send(frame);
        // An advertisement of a router, in its first fragment and behind options that go on in the second.
        send(&fragment(&one, 58, 0, true, &[134, 0, 0, 0, 0, 0, 0, 0]));
        send(&fragment(&one, 60, 0, true, &[58, 1, 1, 4, 0, 0, 0, 0]));
        send(&fragment(&one, 60, 1, false, &[1, 4, 0, 0, 0, 0, 0, 0, 134, 0, 0, 0, 0, 0, 0, 0]));
        send(&fragment(&one, 58, 0, true, &[]));
        // A claim whose address is in the second fragment; a DHCP server's answer.
        send(&fragment(&one, 58, 0, true, &[136, 0, 0, 0, 0x60, 0, 0, 0]));
        send(&fragment(&one, 17, 0, true, &[0x02, 0x23, 0x02, 0x22, 0, 100, 0, 0]));
        // A question for an echo in two parts, and a forged one.
        let parts =
            [fragment(&one, 58, 0, true, &[128, 0, 0, 0, 0, 0, 0, 1]), fragment(&one, 58, 1, false, &[0; 8])];
        parts.iter().for_each(send);
        let mut forged = parts[1].clone();
        forged[22..38].copy_from_slice(&address(&two).octets());
        send(&forged);
        send(&frame::udp6((one.mac(), TO_ALL_NODES), (address(&one), 1), (ALL_NODES, 9), b"end"));
        let next = || two.cable().receive(|frame| (frame[6..12] == one.mac()).then(|| frame.to_vec()));
        assert_eq!([next(), next()], parts);
        assert_eq!(frame::parse_udp6(&next()).unwrap(), "end");
    });
}

fn the_hosts_services_are_not_the_containers() {
    alone(|| {
        let host = Host::new();
        let (intruder, _other) = pair(&host);
        let friend = host.run("c", crate::host::with_host(on("six")));
        let _world = host.world();
        crate::host::own_v6("2001:db8::1", "wan0");
        let endpoint = &intruder.attached.attachment.endpoints[0];
        let (bridge, gateway) = (endpoint.bridge.clone(), endpoint.gateway6.unwrap());
        let bridge_mac = crate::host::mac_of(&bridge);
        let on_link = link_local(moat_network::mac::MacAddress(bridge_mac));
        let is_usable = || !crate::host::shown(&format!("-6 addr show dev {bridge}")).contains("tentative");
        crate::host::eventually("the bridge has its addresses", is_usable);
        let service = UdpSocket::bind("[::]:7777").unwrap();
        let say = |guest: &Guest, from: Ipv6Addr, to: Ipv6Addr, text: &str| {
            let macs = (guest.mac(), bridge_mac);
            guest.cable().send(&frame::udp6(macs, (from, 1), (to, 7777), text.as_bytes()));
        };
        for to in [gateway, on_link, "2001:db8::1".parse().unwrap(), Ipv6Addr::LOCALHOST, ALL_NODES] {
            say(&intruder, address(&intruder), to, "intruder");
            say(&intruder, local(&intruder), to, "intruder");
        }
        say(&friend, address(&friend), "2001:db8::1".parse().unwrap(), "other address");
        say(&friend, address(&friend), on_link, "other address");
        say(&friend, address(&friend), gateway, "friend");
        let mut buffer = [0; 100];
        let (length, from) = service.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"friend"[..], address(&friend).into()));
    });
}

fn networks_do_not_reach_each_other() {
    alone(|| {
        let host = Host::new();
        let (one, _) = pair(&host);
        let wanted = CreateNetwork { name: "other".to_owned(), ipv6: true, ..CreateNetwork::default() };
        host.networks.create(wanted).unwrap();
        let other = host.run("c", on("other"));
        let endpoint = &other.attached.attachment.endpoints[0];
        let neighbour = (address(&other), endpoint.mac, &endpoint.bridge);
        crate::host::ip(&format!(
            "-6 neigh replace {} lladdr {} dev {}",
            neighbour.0, neighbour.1, neighbour.2
        ));
        let macs = (one.mac(), one.gateway_mac());
        one.cable().send(&frame::udp6(macs, (address(&one), 1), (address(&other), 9), b"intruder"));
        let socket = UdpSocket::bind("[::]:0").unwrap();
        socket.send_to(b"from the host", (address(&other), 9)).unwrap();
        assert_eq!(other.cable().receive(frame::parse_udp6), "from the host");
    });
}
