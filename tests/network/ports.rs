//! Published ports, and what is left when a monitor is killed.

use std::net::{Ipv4Addr, UdpSocket};

use moat_test_harness::{Test, tests};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::host::{HOST, Host, WORLD, alone, publishing};
use crate::{frame, tables};

pub const TESTS: &[Test] = tests![
    the_world_reaches_published_ports_and_nothing_else,
    the_host_reaches_published_ports_at_all_its_addresses,
    containers_reach_each_other_by_published_ports,
    a_container_reaches_itself_by_its_published_port,
    a_killed_monitor_leaves_nothing_for_long,
    a_flushed_firewall_is_made_anew_for_all,
    a_firewall_that_another_program_removed_is_put_back,
    a_thousand_ports_are_published_at_once,
];

fn the_world_reaches_published_ports_and_nothing_else() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let guest = host.run("a", publishing(&["5353:53/udp", "127.0.0.1:6000:60/udp"]));
        let macs = host.world_macs();
        let send = |to: (Ipv4Addr, u16), text: &str| {
            world.send(&frame::udp(macs, (WORLD, 4000), to, text.as_bytes()));
        };
        send((guest.ip(), 53), "straight");
        send((HOST, 6000), "for the host alone");
        send((Ipv4Addr::LOCALHOST, 6000), "for the host alone");
        send((HOST, 5354), "not published");
        send((HOST, 5353), "published");
        let seen = guest.cable().datagram();
        // The container sees the sender's own address.
        assert_eq!((seen.from, seen.to), ((WORLD, 4000), (guest.ip(), 53)));
        assert_eq!(seen.text, "published");
        guest.cable().send(&guest.datagram(53, (WORLD, 4000), "answer"));
        let answer = world.datagram();
        assert_eq!((answer.from, answer.text.as_str()), ((HOST, 5353), "answer"));
    });
}

fn the_host_reaches_published_ports_at_all_its_addresses() {
    alone(|| {
        let host = Host::new();
        let _world = host.world();
        let guest = host.run("a", publishing(&["5353:53/udp", "127.0.0.1:6000:60/udp"]));
        let targets = [(Ipv4Addr::LOCALHOST, 5353, 53), (HOST, 5353, 53), (Ipv4Addr::LOCALHOST, 6000, 60)];
        for (address, port, inner) in targets {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((address, port)).unwrap();
            socket.send(b"question").unwrap();
            let seen = guest.cable().datagram();
            assert_eq!(seen.to, (guest.ip(), inner), "{address}:{port}");
            assert_ne!(seen.from.0, Ipv4Addr::LOCALHOST);
            guest.cable().send(&guest.datagram(inner, seen.from, "answer"));
            let mut buffer = [0; 100];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"answer", "{address}:{port}");
        }
    });
}

fn containers_reach_each_other_by_published_ports() {
    alone(|| {
        let host = Host::new();
        let _world = host.world();
        let server = host.run("a", publishing(&["5353:53/udp"]));
        let client = host.run("b", publishing(&[]));
        client.cable().send(&client.datagram(4000, (HOST, 5353), "question"));
        let seen = server.cable().datagram();
        assert_eq!(seen.text, "question");
        server.cable().send(&server.datagram(53, seen.from, "answer"));
        // A bridge that does not know yet where an address is sends to all.
        let own = |frame: &[u8]| frame::parse_udp(frame).filter(|datagram| datagram.to.0 == client.ip());
        let answer = client.cable().receive(own);
        assert_eq!((answer.from, answer.text.as_str()), ((HOST, 5353), "answer"));
    });
}

fn a_container_reaches_itself_by_its_published_port() {
    alone(|| {
        let host = Host::new();
        let _world = host.world();
        let guest = host.run("a", publishing(&["5353:53/udp"]));
        // Both of its own addresses, and nothing else, come back by the same cable.
        let to_all = [0xff; 6];
        guest.cable().send(&frame::udp(
            (guest.mac(), to_all),
            (guest.ip(), 1),
            (Ipv4Addr::BROADCAST, 9),
            b"echo",
        ));
        let unknown = [0x02, 9, 9, 9, 9, 9];
        guest.cable().send(&frame::udp((guest.mac(), unknown), (guest.ip(), 1), (guest.ip(), 9), b"echo"));
        guest.cable().send(&guest.datagram(4000, (HOST, 5353), "question"));
        let seen = guest.cable().datagram();
        assert_eq!(
            (seen.from.0, seen.to, seen.text.as_str()),
            (guest.gateway(), (guest.ip(), 53), "question")
        );
        guest.cable().send(&guest.datagram(53, seen.from, "answer"));
        let answer = guest.cable().datagram();
        assert_eq!((answer.from, answer.to), ((HOST, 5353), (guest.ip(), 4000)));
        assert_eq!(answer.text, "answer");
    });
}

fn a_killed_monitor_leaves_nothing_for_long() {
    alone(|| {
        let host = Host::new();
        let config = host.config("a", publishing(&["5353:53/udp"]));
        let guest = host.start(&config);
        let address = guest.ip();
        let tap = guest.attached.attachment.endpoints[0].tap.clone();
        let taken = host.config("b", publishing(&["5353:53/udp"]));
        let error = host.networks.attach(&taken.member()).unwrap_err().to_string();
        assert!(error.contains("port is already allocated by container a"), "{error}");
        guest.kill();
        assert!(!moat_network::link::exists(&tap));
        assert_eq!(host.networks.attachments().unwrap().len(), 1);
        // The next container finds everything free.
        let next = host.start(&taken);
        assert_eq!((next.ip(), host.networks.attachments().unwrap().len()), (address, 1));
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"question", ("127.0.0.1", 5353)).unwrap();
        assert_eq!(next.cable().datagram().to, (next.ip(), 53));
        host.networks.release(&next.attached.attachment.container).unwrap();
        assert!(host.networks.attachments().unwrap().is_empty());
        // A root directory that may be deleted leaves no bridge.
        assert!(!moat_network::link::exists(&next.attached.attachment.endpoints[0].bridge));
        // Released twice is released.
        host.networks.release(&next.attached.attachment.container).unwrap();
    });
}

fn a_flushed_firewall_is_made_anew_for_all() {
    alone(|| {
        let host = Host::new();
        let first = host.run("a", publishing(&["5353:53/udp"]));
        moat_network::firewall::Firewall::open().unwrap().uninstall().unwrap();
        let _second = host.run("b", publishing(&[]));
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"question", ("127.0.0.1", 5353)).unwrap();
        assert_eq!(first.cable().datagram().to, (first.ip(), 53));
    });
}

/// What a monitor does every few seconds.
fn a_firewall_that_another_program_removed_is_put_back() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let (first, second) = (host.run("a", publishing(&["5353:53/udp"])), host.run("b", publishing(&[])));
        let filled = tables::filled();
        let refresh = || host.networks.refresh(&first.attached.attachment).unwrap();
        refresh();
        assert_eq!(tables::filled(), filled);
        moat_network::firewall::Firewall::open().unwrap().uninstall().unwrap();
        refresh();
        assert_eq!(tables::filled(), filled);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"question", ("127.0.0.1", 5353)).unwrap();
        assert_eq!(first.cable().datagram().to, (first.ip(), 53));
        // The other one's walls stand, too.
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        crate::host::ip(&format!("route add {metadata}/32 via {WORLD} dev wan0"));
        second.cable().send(&second.datagram(1, (metadata, 80), "secrets"));
        second.cable().send(&second.datagram(1, (WORLD, 80), "allowed"));
        assert_eq!(world.datagram().text, "allowed");
        // Only the elements of one container are gone.
        moat_network::firewall::Firewall::open().unwrap().expel(&first.attached.attachment).unwrap();
        refresh();
        assert_eq!(tables::filled(), filled);
    });
}

fn a_thousand_ports_are_published_at_once() {
    alone(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 14), hard).unwrap();
        let host = Host::new();
        let guest = host.run("a", publishing(&["20000-20499:30000-30499/udp", "21000-21499:31000-31499"]));
        assert_eq!(tables::elements(tables::INET, "published4"), 1000);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for port in [20000, 20250, 20499] {
            socket.send_to(b"question", ("127.0.0.1", port)).unwrap();
            assert_eq!(guest.cable().datagram().to, (guest.ip(), port + 10000));
        }
        host.networks.release(&guest.config.id).unwrap();
        assert!(tables::filled().is_empty() && host.networks.attachments().unwrap().is_empty());
        guest.kill();
        // And once more, with the rules gone before the container.
        let guest = host.run("a", publishing(&["20000-20999:30000-30999/udp"]));
        moat_network::firewall::Firewall::open().unwrap().uninstall().unwrap();
        host.networks.release(&guest.config.id).unwrap();
        assert!(host.networks.attachments().unwrap().is_empty());
    });
}
