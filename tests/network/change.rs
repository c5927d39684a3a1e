//! Containers that run join networks and leave them.

use std::net::Ipv4Addr;

use moat_network::request::Join;
use moat_network::{CreateNetwork, NetworkError};
use moat_test_harness::{Test, tests};

use crate::frame;
use crate::host::{Guest, HOST, Host, WORLD, alone, on, publishing};

pub const TESTS: &[Test] = tests![
    who_joins_is_let_in_and_who_leaves_is_not,
    nobody_joins_twice_or_without_a_place,
    published_ports_follow_the_way_out,
];

const RED: &str = "10.5.0.0/24";
const BLUE: &str = "10.6.0.0/24";

fn create(host: &Host, name: &str, subnet: &str) {
    let subnets = vec![subnet.parse().unwrap()];
    host.networks
        .create(CreateNetwork { name: name.to_owned(), subnets, ..CreateNetwork::default() })
        .unwrap();
}

fn who_joins_is_let_in_and_who_leaves_is_not() {
    alone(|| {
        let host = Host::new();
        create(&host, "red", RED);
        create(&host, "blue", BLUE);
        let mut guest = host.run("a", on("red"));
        let neighbour = host.run("b", on("red"));
        let other = host.run("c", on("blue"));
        let joined = host.join(&mut guest, Join::new("blue"));
        assert_eq!((joined.number, joined.ipv4.addr()), (1, Ipv4Addr::new(10, 6, 0, 3)));
        let say = |guest: &Guest, text: &str| {
            let macs = (joined.mac.0, other.mac());
            let frame = frame::udp(macs, (joined.ipv4.addr(), 1), (other.ip(), 2), text.as_bytes());
            guest.cables[1].send(&frame);
        };
        say(&guest, "hello blue");
        assert_eq!(other.cable().datagram().text, "hello blue");
        // What it is in one network it is not in the other.
        let red = (guest.ip(), 1);
        guest.cables[1].send(&frame::udp((joined.mac.0, other.mac()), red, (other.ip(), 2), b"as red"));
        guest.cables[1].send(&frame::udp((guest.mac(), other.mac()), red, (other.ip(), 2), b"as red"));
        say(&guest, "once more");
        assert_eq!(other.cable().datagram().text, "once more");
        // Out it is, though it has its cable still.
        let id = guest.attached.attachment.container.clone();
        let left = host.networks.leave(&id, &joined.network).unwrap().unwrap();
        assert_eq!(left.endpoints, guest.attached.attachment.endpoints[..1]);
        assert_eq!(host.networks.leave(&id, &joined.network).unwrap(), None);
        say(&guest, "from outside");
        let macs = (guest.mac(), neighbour.mac());
        guest.cable().send(&frame::udp(macs, red, (neighbour.ip(), 2), b"still red"));
        assert_eq!(neighbour.cable().datagram().text, "still red");
        // Its address is free again, and the next one has it.
        let next = host.run("d", on("blue"));
        assert_eq!(next.ip(), joined.ipv4.addr());
        next.cable().send(&frame::udp((next.mac(), other.mac()), (next.ip(), 1), (other.ip(), 2), b"next"));
        assert_eq!(other.cable().datagram().text, "next");
    });
}

fn nobody_joins_twice_or_without_a_place() {
    alone(|| {
        let host = Host::new();
        create(&host, "red", RED);
        let guest = host.run("a", on("red"));
        let refused = |join: &Join| host.networks.join(&guest.config.member(), join).unwrap_err();
        let twice = "endpoint with name a already exists in network red";
        assert_eq!(refused(&Join::new("red")).to_string(), twice);
        assert!(matches!(refused(&Join::new("green")), NetworkError::NotFound(_)));
        create(&host, "blue", BLUE);
        let at = |address: &str| Join { ipv4: Some(address.parse().unwrap()), ..Join::new("blue") };
        assert!(matches!(refused(&at("10.6.0.1")), NetworkError::AddressTaken { .. }));
        assert!(matches!(refused(&at("10.5.0.9")), NetworkError::Invalid(_)));
        let idle = host.config("b", on("red"));
        assert!(matches!(host.networks.join(&idle.member(), &at("10.6.0.9")), Err(NetworkError::NoCards)));
        // Nothing has changed.
        assert_eq!(
            host.networks.attachment(&guest.config.id).unwrap().as_ref(),
            Some(&guest.attached.attachment)
        );
    });
}

fn published_ports_follow_the_way_out() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        create(&host, "blue", BLUE);
        let mut guest = host.run("a", publishing(&["5353:53/udp"]));
        let joined = host.join(&mut guest, Join::new("blue"));
        let ask = || world.send(&frame::udp(host.world_macs(), (WORLD, 4000), (HOST, 5353), b"question"));
        ask();
        assert_eq!(guest.cable().datagram().to, (guest.ip(), 53));
        let id = guest.attached.attachment.container.clone();
        let bridge = guest.attached.attachment.endpoints[0].network.clone();
        host.networks.leave(&id, &bridge).unwrap().unwrap();
        ask();
        assert_eq!(guest.cables[1].datagram().to, (joined.ipv4.addr(), 53));
    });
}
