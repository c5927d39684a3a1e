//! What a hostile guest cannot do.

use std::net::{Ipv4Addr, UdpSocket};

use moat_network::CreateNetwork;
use moat_test_harness::{Test, tests};

use crate::frame;
use crate::host::{Host, WORLD, WORLD_MAC, alone, ip, on, own_v6, publishing, set, with_host};

pub const TESTS: &[Test] = tests![
    the_world_sees_the_hosts_address,
    addresses_cannot_be_forged,
    neighbours_cannot_be_poisoned,
    nobody_plays_the_dhcp_server,
    containers_of_one_network_talk_and_those_of_others_do_not,
    the_hosts_services_are_not_the_containers,
    what_the_host_asks_is_answered,
    the_metadata_service_is_out_of_reach,
    the_gateway_answers_pings,
    internal_networks_lead_nowhere,
    addresses_of_bridges_are_no_way_around,
    tagged_frames_meet_the_same_walls,
    the_metadata_service_is_not_behind_the_bridge,
];

const BROADCAST: [u8; 6] = [0xff; 6];

fn the_world_sees_the_hosts_address() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let guest = host.run("a", publishing(&[]));
        assert_eq!(guest.ip(), Ipv4Addr::new(172, 17, 0, 2));
        guest.cable().send(&guest.datagram(1000, (WORLD, 53), "hello"));
        let seen = world.datagram();
        assert_eq!((seen.from.0, seen.to, seen.text.as_str()), (crate::host::HOST, (WORLD, 53), "hello"));
    });
}

fn addresses_cannot_be_forged() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let guest = host.run("a", publishing(&[]));
        let (mac, gateway) = (guest.mac(), guest.gateway_mac());
        let stolen = Ipv4Addr::new(172, 17, 0, 99);
        let forged_mac = [0x02, 1, 2, 3, 4, 5];
        guest.cable().send(&frame::udp((mac, gateway), (stolen, 1), (WORLD, 53), b"forged address"));
        guest.cable().send(&frame::udp((mac, gateway), (WORLD, 1), (WORLD, 53), b"foreign address"));
        guest.cable().send(&frame::udp((forged_mac, gateway), (guest.ip(), 1), (WORLD, 53), b"forged mac"));
        guest.cable().send(&guest.datagram(1, (WORLD, 53), "true"));
        assert_eq!(world.datagram().text, "true");
    });
}

fn neighbours_cannot_be_poisoned() {
    alone(|| {
        let host = Host::new();
        let (one, two) = (host.run("a", publishing(&[])), host.run("b", publishing(&[])));
        let own = (one.mac(), one.ip());
        let victim = (two.mac(), two.ip());
        let macs = (one.mac(), BROADCAST);
        // It claims the gateway's address; another container's; its own for another container; nonsense.
        one.cable().send(&frame::arp(macs, 2, (one.mac(), one.gateway()), victim));
        one.cable().send(&frame::arp(macs, 2, (one.mac(), two.ip()), victim));
        one.cable().send(&frame::arp(macs, 2, (two.mac(), one.ip()), victim));
        one.cable().send(&frame::arp((two.mac(), BROADCAST), 2, own, victim));
        one.cable().send(&frame::ethernet(macs, 0x0806, &[0xff; 28]));
        one.cable().send(&frame::ethernet(macs, 0x88cc, &[0xff; 28]));
        one.cable().send(&frame::arp(macs, 1, own, ([0; 6], two.ip())));
        let sender = two.cable().receive(|frame| {
            let is_arp = frame[12..14] == [8, 6];
            let from_host = frame[6..12] == one.gateway_mac();
            (is_arp && !from_host).then(|| frame[22..32].to_vec())
        });
        assert_eq!(sender, [&one.mac()[..], &one.ip().octets()].concat());
    });
}

fn nobody_plays_the_dhcp_server() {
    alone(|| {
        let host = Host::new();
        let (one, two) = (host.run("a", publishing(&[])), host.run("b", publishing(&[])));
        let to = (Ipv4Addr::BROADCAST, 68);
        one.cable().send(&frame::udp((one.mac(), BROADCAST), (one.ip(), 67), to, b"offer"));
        one.cable().send(&frame::udp((one.mac(), BROADCAST), (one.ip(), 66), to, b"other"));
        assert_eq!(two.cable().datagram().text, "other");
    });
}

fn containers_of_one_network_talk_and_those_of_others_do_not() {
    alone(|| {
        let host = Host::new();
        for name in ["red", "blue"] {
            host.networks
                .create(CreateNetwork { name: name.to_owned(), ..CreateNetwork::default() })
                .unwrap();
        }
        let (one, two, other) =
            (host.run("a", on("red")), host.run("b", on("red")), host.run("c", on("blue")));
        let direct =
            |text: &str| frame::udp((one.mac(), two.mac()), (one.ip(), 1), (two.ip(), 9), text.as_bytes());
        one.cable().send(&direct("neighbour"));
        assert_eq!(two.cable().datagram().text, "neighbour");
        assert_ne!(one.gateway(), other.gateway());
        one.cable().send(&one.datagram(1, (other.ip(), 9), "intruder"));
        // It went through the host before this one did, which the host sends itself.
        let socket = UdpSocket::bind((other.gateway(), 0)).unwrap();
        socket.send_to(b"from the host", (other.ip(), 9)).unwrap();
        assert_eq!(other.cable().datagram().text, "from the host");
    });
}

fn the_hosts_services_are_not_the_containers() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let service = UdpSocket::bind("0.0.0.0:7777").unwrap();
        let guest = host.run("a", publishing(&[]));
        let friend = host.run("b", with_host(publishing(&[])));
        for address in [guest.gateway(), crate::host::HOST, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST] {
            guest.cable().send(&guest.datagram(1, (address, 7777), "intruder"));
        }
        friend.cable().send(&friend.datagram(1, (crate::host::HOST, 7777), "other address"));
        friend.cable().send(&friend.datagram(1, (friend.gateway(), 7777), "friend"));
        let mut buffer = [0; 100];
        let (length, from) = service.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"friend"[..], friend.ip().into()));
        drop(world);
    });
}

fn what_the_host_asks_is_answered() {
    alone(|| {
        let host = Host::new();
        let guest = host.run("a", publishing(&[]));
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"question", (guest.ip(), 9)).unwrap();
        let question = guest.cable().datagram();
        guest.cable().send(&guest.datagram(9, question.from, "answer"));
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
    });
}

fn the_metadata_service_is_out_of_reach() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        own_v6("2001:db8::1", "wan0");
        let wanted = CreateNetwork { name: "six".to_owned(), ipv6: true, ..CreateNetwork::default() };
        host.networks.create(wanted).unwrap();
        let guest = host.run("a", on("six"));
        for address in [[169, 254, 169, 254], [168, 63, 129, 16], [100, 100, 100, 200]].map(Ipv4Addr::from) {
            ip(&format!("route add {address}/32 via {WORLD} dev wan0"));
            guest.cable().send(&guest.datagram(1, (address, 80), "secrets"));
        }
        ip(&format!("-6 neigh replace 2001:db8::9 lladdr {} dev wan0", frame::mac_text(WORLD_MAC)));
        let own = guest.attached.attachment.endpoints[0].ipv6.unwrap().addr();
        let macs = (guest.mac(), guest.gateway_mac());
        for (address, text) in
            [("fd00:ec2::254", "secrets"), ("fd20:ce::254", "secrets"), ("fd20:ce::255", "allowed")]
        {
            ip(&format!("-6 route add {address}/128 via 2001:db8::9 dev wan0"));
            let to = (address.parse().unwrap(), 80);
            guest.cable().send(&frame::udp6(macs, (own, 1), to, text.as_bytes()));
        }
        guest.cable().send(&guest.datagram(1, (WORLD, 80), "allowed"));
        assert_eq!(world.receive(frame::parse_udp6), "allowed");
        assert_eq!(world.datagram().text, "allowed");
    });
}

/// Of the host's addresses only the gateway of its own network answers.
fn the_gateway_answers_pings() {
    alone(|| {
        let host = Host::new();
        let _world = host.world();
        for (name, internal) in [("red", false), ("inner", true)] {
            let name = name.to_owned();
            let wanted = CreateNetwork { name, internal, ipv6: true, ..CreateNetwork::default() };
            host.networks.create(wanted).unwrap();
        }
        let (one, two) = (host.run("a", on("red")), host.run("b", on("inner")));
        for (guest, other) in [(&one, &two), (&two, &one)] {
            let macs = (guest.mac(), guest.gateway_mac());
            for to in [crate::host::HOST, other.gateway(), Ipv4Addr::LOCALHOST, guest.gateway()] {
                guest.cable().send(&frame::ping(macs, guest.ip(), to));
            }
            let answered_by = |frame: &[u8]| {
                let is_answer = frame[12..14] == [8, 0] && frame[23] == 1 && frame[34] == 0;
                is_answer.then(|| frame[26..30].to_vec())
            };
            assert_eq!(guest.cable().receive(answered_by), guest.gateway().octets());
            let endpoint = &guest.attached.attachment.endpoints[0];
            let (own, gateway6) = (endpoint.ipv6.unwrap().addr(), endpoint.gateway6.unwrap());
            ip(&format!("-6 neigh replace {own} lladdr {} dev {}", endpoint.mac, endpoint.bridge));
            let other6 = other.attached.attachment.endpoints[0].gateway6.unwrap();
            for to in [other6, gateway6] {
                guest.cable().send(&frame::ping6(macs, own, to));
            }
            let answered_by = |frame: &[u8]| {
                let is_answer = frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == 129;
                is_answer.then(|| frame[22..38].to_vec())
            };
            assert_eq!(guest.cable().receive(answered_by), gateway6.octets());
        }
    });
}

fn internal_networks_lead_nowhere() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let wanted = CreateNetwork { name: "inner".to_owned(), internal: true, ..CreateNetwork::default() };
        host.networks.create(wanted).unwrap();
        let (inner, outer) = (host.run("a", on("inner")), host.run("b", publishing(&[])));
        inner.cable().send(&inner.datagram(1, (WORLD, 53), "escaped"));
        outer.cable().send(&outer.datagram(1, (WORLD, 53), "allowed"));
        assert_eq!(world.datagram().text, "allowed");
    });
}

/// Frames to these addresses a bridge hands to the host as if they had come by the port itself.
fn addresses_of_bridges_are_no_way_around() {
    alone(|| {
        let host = Host::new();
        let inner = CreateNetwork { name: "inner".to_owned(), internal: true, ..CreateNetwork::default() };
        host.networks.create(inner).unwrap();
        set("ipv4/conf/all/rp_filter", "0");
        set("ipv4/conf/default/rp_filter", "0");
        let world = host.world();
        let service = UdpSocket::bind("0.0.0.0:7777").unwrap();
        for guest in [host.run("a", publishing(&[])), host.run("b", on("inner"))] {
            let endpoint = &guest.attached.attachment.endpoints[0];
            set(&format!("ipv4/conf/{}/rp_filter", endpoint.tap), "0");
            for last in 0..16 {
                let macs = (guest.mac(), [0x01, 0x80, 0xc2, 0, 0, last]);
                for from in [guest.ip(), Ipv4Addr::new(198, 51, 100, 7)] {
                    for to in [guest.gateway(), crate::host::HOST, WORLD] {
                        guest.cable().send(&frame::udp(macs, (from, 1), (to, 7777), b"intruder"));
                    }
                }
                let asked = ([0; 6], crate::host::HOST);
                guest.cable().send(&frame::arp(macs, 1, (guest.mac(), guest.ip()), asked));
            }
            // What the host does with a frame is done when this one, behind it, is answered.
            let macs = (guest.mac(), BROADCAST);
            guest.cable().send(&frame::arp(macs, 1, (guest.mac(), guest.ip()), ([0; 6], guest.gateway())));
            let answer = guest.cable().receive(|frame| {
                (frame[12..14] == [8, 6] && frame[20..22] == [0, 2]).then(|| frame[28..32].to_vec())
            });
            assert_eq!(answer, guest.gateway().octets());
        }
        service.set_nonblocking(true).unwrap();
        assert_eq!(service.recv(&mut [0; 100]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(!world.arrived().iter().any(|frame| frame::parse_udp(frame).is_some()));
    });
}

/// A tag in front of a packet hides nothing of it.
fn tagged_frames_meet_the_same_walls() {
    alone(|| {
        let host = Host::new();
        let service = UdpSocket::bind("0.0.0.0:7777").unwrap();
        let (one, two) = (host.run("a", publishing(&[])), host.run("b", publishing(&[])));
        let stolen = Ipv4Addr::new(172, 17, 0, 99);
        for tag in
            [&[0x81, 0, 0, 0][..], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 7], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 0]]
        {
            let tagged = |frame: &[u8]| [&frame[..12], tag, &frame[12..]].concat();
            one.cable().send(&tagged(&one.datagram(1, (one.gateway(), 7777), "intruder")));
            let macs = (one.mac(), two.mac());
            one.cable().send(&tagged(&frame::udp(macs, (stolen, 1), (two.ip(), 9), b"forged")));
            let claim = (one.mac(), one.gateway());
            one.cable().send(&tagged(&frame::arp((one.mac(), BROADCAST), 2, claim, (two.mac(), two.ip()))));
        }
        one.cable().send(&frame::udp((one.mac(), two.mac()), (one.ip(), 1), (two.ip(), 9), b"plain"));
        let first = two.cable().receive(|frame| (frame[6..12] == one.mac()).then(|| frame.to_vec()));
        assert_eq!(frame::parse_udp(&first).expect("a datagram without a tag").text, "plain");
        service.set_nonblocking(true).unwrap();
        assert_eq!(service.recv(&mut [0; 100]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

/// Not by the default route, and not over the bridge either when a container there has the address.
fn the_metadata_service_is_not_behind_the_bridge() {
    alone(|| {
        let host = Host::new();
        let (one, two) = (host.run("a", publishing(&[])), host.run("b", publishing(&[])));
        let bridge = &one.attached.attachment.endpoints[0].bridge;
        ip(&format!("addr add 169.254.169.254/32 dev {bridge}"));
        let service = UdpSocket::bind("169.254.169.254:80").unwrap();
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        one.cable().send(&one.datagram(1, (metadata, 80), "secrets"));
        one.cable().send(&frame::udp((one.mac(), two.mac()), (one.ip(), 1), (metadata, 80), b"secrets"));
        one.cable().send(&frame::udp((one.mac(), two.mac()), (one.ip(), 1), (two.ip(), 80), b"allowed"));
        assert_eq!(two.cable().datagram().text, "allowed");
        service.set_nonblocking(true).unwrap();
        assert_eq!(service.recv(&mut [0; 100]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}
