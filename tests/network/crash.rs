//! What is left when a monitor is killed at a bad moment, another program meddles, or the host is booted again.

use std::net::{Ipv4Addr, UdpSocket};

use moat_network::CreateNetwork;
use moat_network::firewall::Firewall;
use moat_test_harness::{Test, tests};

use crate::frame;
use crate::host::{Cable, Host, WORLD, alone, forwards, ip, mac_of, on, own_v6, publishing, set, shown};

pub const TESTS: &[Test] = tests![
    half_a_bridge_is_finished,
    a_host_that_was_closed_stays_closed,
    a_host_that_was_open_stays_open,
    what_was_turned_on_before_a_boot_is_past,
    a_host_without_ipv6_forwarding_stays_closed_for_ipv6,
    records_outlive_the_host_and_nothing_else_does,
];

const LAN_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];
const LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

/// A second cable of the host, to which it passes nothing on but for containers.
fn lan(host: &Host) -> Cable {
    let cable = host.cable("lan0", "192.0.2.1/24");
    ip(&format!("neigh replace {LAN} lladdr {} dev lan0", frame::mac_text(LAN_MAC)));
    cable
}

fn half_a_bridge_is_finished() {
    alone(|| {
        let host = Host::new();
        let wanted = CreateNetwork { name: "red".to_owned(), ipv6: true, ..CreateNetwork::default() };
        let red = host.networks.create(wanted).unwrap();
        // As far as a command got that was killed.
        ip(&format!("link add {} type bridge", red.bridge));
        ip(&format!("addr add {}/{} dev {}", red.ipv4.gateway, red.ipv4.subnet.prefix_len(), red.bridge));
        let guest = host.run("a", on("red"));
        let state = shown(&format!("addr show dev {}", red.bridge));
        let gateway6 = guest.attached.attachment.endpoints[0].gateway6.unwrap();
        assert!(state.contains(",UP") && state.contains(&format!("inet6 {gateway6}/64")), "{state}");
        let option = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", red.bridge);
        assert_eq!(std::fs::read_to_string(option).unwrap().trim(), "1");
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"hello", (guest.ip(), 9)).unwrap();
        assert_eq!(guest.cable().datagram().text, "hello");
    });
}

fn a_host_that_was_closed_stays_closed() {
    alone(|| {
        forwards(false);
        let host = Host::new();
        let (world, lan) = (host.world(), lan(&host));
        let check = |name: &str| {
            let guest = host.run(name, publishing(&[]));
            assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");
            world.send(&frame::udp(host.world_macs(), (WORLD, 1), (LAN, 9), b"through"));
            // Behind it, by the same way out.
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"marker", (LAN, 9)).unwrap();
            assert_eq!(lan.datagram().text, "marker", "{name}");
            guest.cable().send(&guest.datagram(1, (LAN, 9), name));
            assert_eq!(lan.datagram().text, name);
        };
        check("a");
        // The rules are gone, and the host passes packets on: that it did not before is remembered.
        Firewall::open().unwrap().uninstall().unwrap();
        check("b");
        // Another root knows nothing of that, and changes nothing.
        let other = Host::new();
        let _guest = other.run("c", publishing(&[]));
        check("d");
    });
}

fn a_host_that_was_open_stays_open() {
    alone(|| {
        let host = Host::new();
        set("ipv4/ip_forward", "1");
        let (world, lan) = (host.world(), lan(&host));
        let _guest = host.run("a", publishing(&[]));
        world.send(&frame::udp(host.world_macs(), (WORLD, 1), (LAN, 9), b"through"));
        assert_eq!(lan.datagram().text, "through");
    });
}

fn what_was_turned_on_before_a_boot_is_past() {
    alone(|| {
        let host = Host::new();
        let (world, lan) = (host.world(), lan(&host));
        let before = r#"{"boot": "another", "v4": true, "v6": true}"#;
        std::fs::create_dir_all(host.root.networks()).unwrap();
        std::fs::write(host.root.networks().join("forwarding"), before).unwrap();
        // Now it is the administrator who wants it.
        set("ipv4/ip_forward", "1");
        let _guest = host.run("a", publishing(&[]));
        world.send(&frame::udp(host.world_macs(), (WORLD, 1), (LAN, 9), b"through"));
        assert_eq!(lan.datagram().text, "through");
    });
}

fn a_host_without_ipv6_forwarding_stays_closed_for_ipv6() {
    alone(|| {
        forwards(false);
        let host = Host::new();
        set("ipv4/ip_forward", "1");
        let (world, lan) = (host.world(), lan(&host));
        own_v6("2001:db8:1::1", "wan0");
        own_v6("2001:db8:2::1", "lan0");
        ip(&format!("-6 neigh replace 2001:db8:2::9 lladdr {} dev lan0", frame::mac_text(LAN_MAC)));
        let _four = host.run("a", publishing(&[]));
        let wanted = CreateNetwork { name: "six".to_owned(), ipv6: true, ..CreateNetwork::default() };
        host.networks.create(wanted).unwrap();
        let guest = host.run("b", on("six"));
        let (near, far) = ("2001:db8:1::9".parse().unwrap(), "2001:db8:2::9".parse().unwrap());
        let macs = ([0x02, 0, 0, 0, 0, 9], mac_of("wan0"));
        world.send(&frame::udp6(macs, (near, 1), (far, 9), b"through"));
        let own = guest.attached.attachment.endpoints[0].ipv6.unwrap().addr();
        let macs = (guest.mac(), guest.gateway_mac());
        guest.cable().send(&frame::udp6(macs, (own, 1), (far, 9), b"allowed"));
        assert_eq!(lan.receive(frame::parse_udp6), "allowed");
        // IPv4 is what it was.
        world.send(&frame::udp(host.world_macs(), (WORLD, 1), (LAN, 9), b"through"));
        assert_eq!(lan.datagram().text, "through");
    });
}

fn records_outlive_the_host_and_nothing_else_does() {
    alone(|| {
        let host = Host::new();
        let config = host.config("a", publishing(&["5353:53/udp"]));
        let guest = host.start(&config);
        let bridge = guest.attached.attachment.endpoints[0].bridge.clone();
        guest.kill();
        Firewall::open().unwrap().uninstall().unwrap();
        ip(&format!("link del {bridge}"));
        set("ipv4/ip_forward", "0");
        assert_eq!(host.networks.attachments().unwrap().len(), 1);
        let other = host.run("b", publishing(&[]));
        assert_eq!(host.networks.attachments().unwrap().len(), 1);
        host.networks.release(&other.config.id).unwrap();
        other.kill();
        let guest = host.start(&config);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"question", ("127.0.0.1", 5353)).unwrap();
        assert_eq!(guest.cable().datagram().to, (guest.ip(), 53));
    });
}
