//! Flows that go on while containers come and go.

use std::net::UdpSocket;

use moat_containers::config::ContainerConfig;
use moat_network::CreateNetwork;
use moat_network::request::NetworkRequest;
use moat_test_harness::{Test, tests};

use crate::frame;
use crate::host::{
    Guest, HOST, Host, WORLD, WORLD_MAC, World, alone, alone_on, ip, mac_of, on, own_v6, publishing, set,
};

pub const TESTS: &[Test] = tests![
    a_flow_goes_where_the_port_is_now,
    a_flow_that_began_before_the_container_reaches_it,
    a_flow_over_ipv6_goes_where_the_port_is_now,
    one_container_does_not_fill_the_table_of_flows,
];

/// The next datagram to its address. A bridge that does not know yet where an address is sends to all.
fn for_it(guest: &Guest) -> String {
    let own = |frame: &[u8]| frame::parse_udp(frame).filter(|datagram| datagram.to.0 == guest.ip());
    guest.cable().receive(own).text
}

fn a_flow_goes_where_the_port_is_now() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let macs = host.world_macs();
        // One client that keeps its port.
        let say = |text: &str| world.send(&frame::udp(macs, (WORLD, 4000), (HOST, 5353), text.as_bytes()));
        let config = host.config("a", publishing(&["5353:53/udp"]));
        let first = host.start(&config);
        let address = first.ip();
        say("one");
        assert_eq!(first.cable().datagram().text, "one");
        first.cable().send(&first.datagram(53, (WORLD, 4000), "answer"));
        assert_eq!(world.datagram().text, "answer");
        host.networks.release(&config.id).unwrap();
        first.kill();
        say("to no container");
        // Another container has its address now, and the container a new one.
        let other = host.run("b", publishing(&[]));
        assert_eq!(other.ip(), address);
        let again = host.start(&config);
        assert_ne!(again.ip(), address);
        say("two");
        assert_eq!(again.cable().datagram().text, "two");
        let marker = UdpSocket::bind("0.0.0.0:0").unwrap();
        marker.send_to(b"marker", (other.ip(), 9)).unwrap();
        assert_eq!(for_it(&other), "marker");
    });
}

fn a_flow_that_began_before_the_container_reaches_it() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let macs = host.world_macs();
        let say = |text: &str| world.send(&frame::udp(macs, (WORLD, 4000), (HOST, 5353), text.as_bytes()));
        let client = host.run("b", publishing(&[]));
        let server = UdpSocket::bind("0.0.0.0:5353").unwrap();
        say("to the host");
        server.recv(&mut [0; 100]).unwrap();
        drop(server);
        // A flow of another container to the same port in the world stays.
        client.cable().send(&client.datagram(1, (WORLD, 5353), "question"));
        let asked = world.datagram().from;
        let guest = host.run("a", publishing(&["5353:53/udp"]));
        say("to the container");
        assert_eq!(guest.cable().datagram().text, "to the container");
        world.send(&frame::udp(macs, (WORLD, 5353), asked, b"answer"));
        assert_eq!(for_it(&client), "answer");
    });
}

fn a_flow_over_ipv6_goes_where_the_port_is_now() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        own_v6("2001:db8::1", "wan0");
        let wanted = CreateNetwork { name: "six".to_owned(), ipv6: true, ..CreateNetwork::default() };
        host.networks.create(wanted).unwrap();
        let (near, far) = ("2001:db8::9".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let macs = (WORLD_MAC, mac_of("wan0"));
        let say = |text: &str| world.send(&frame::udp6(macs, (near, 4000), (far, 5353), text.as_bytes()));
        let config =
            host.config("a", NetworkRequest { networks: on("six").networks, ..publishing(&["5353:53/udp"]) });
        let start = |config: &ContainerConfig| {
            let guest = host.start(config);
            let endpoint = guest.attached.attachment.endpoints[0].clone();
            let address = endpoint.ipv6.unwrap().addr();
            ip(&format!("-6 neigh replace {address} lladdr {} dev {}", endpoint.mac, endpoint.bridge));
            (guest, address)
        };
        let (first, address) = start(&config);
        say("one");
        assert_eq!(first.cable().receive(frame::parse_udp6), "one");
        host.networks.release(&config.id).unwrap();
        first.kill();
        let (_other, same) = start(&host.config("b", on("six")));
        assert_eq!(same, address);
        let (again, another) = start(&config);
        assert_ne!(another, address);
        say("two");
        let to_it = |frame: &[u8]| frame::parse_udp6(frame).filter(|_| frame[38..54] == another.octets());
        assert_eq!(again.cable().receive(to_it), "two");
    });
}

/// The host has one table of flows for all. One address gets so many places of it; the flows that it has go on.
fn one_container_does_not_fill_the_table_of_flows() {
    const BOUND: usize = 8192;
    alone_on(World::Fresh, || {
        // None ends while the test counts them, however slow the machine is.
        set("netfilter/nf_conntrack_udp_timeout", "3600");
        let host = Host::new();
        let world = host.world();
        own_v6("2001:db8::1", "wan0");
        ip(&format!("-6 neigh replace 2001:db8::9 lladdr {} dev wan0", frame::mac_text(WORLD_MAC)));
        let wanted = CreateNetwork { name: "six".to_owned(), ipv6: true, ..CreateNetwork::default() };
        host.networks.create(wanted).unwrap();
        let (one, other) = (host.run("a", on("six")), host.run("b", on("six")));
        let far = "2001:db8::9".parse().unwrap();
        let own = one.attached.attachment.endpoints[0].ipv6.unwrap().addr();
        let macs = (one.mac(), one.gateway_mac());
        let arrived = |frames: &mut (usize, usize)| {
            for frame in world.arrived() {
                frames.0 += usize::from(frame::parse_udp(&frame).is_some());
                frames.1 += usize::from(frame::parse_udp6(&frame).is_some());
            }
        };
        let mut seen = (0, 0);
        for number in 0..BOUND + 500 {
            let from = 1000 + number as u16;
            one.cable().send(&one.datagram(from, (WORLD, 53), "new"));
            one.cable().send(&frame::udp6(macs, (own, from), (far, 53), b"new"));
            arrived(&mut seen);
        }
        assert_eq!(seen, (BOUND, BOUND));
        one.cable().send(&one.datagram(1000, (WORLD, 53), "goes on"));
        other.cable().send(&other.datagram(1, (WORLD, 53), "another's"));
        assert_eq!(world.datagram().text, "goes on");
        assert_eq!(world.datagram().text, "another's");
    });
}
