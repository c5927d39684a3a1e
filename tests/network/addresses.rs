//! Who gets which address.

use std::collections::BTreeSet;

use moat_network::request::{Join, NetworkRequest};
use moat_network::{CreateNetwork, NetworkError};
use moat_records::record::Lock;
use moat_test_harness::{Test, tests};

use crate::host::{Host, alone, ip, on, publishing};

pub const TESTS: &[Test] = tests![
    many_at_once_get_different_addresses,
    what_the_host_uses_is_left_alone,
    certain_addresses_are_given_or_refused,
    a_network_inside_a_wider_route_is_no_conflict,
    a_network_that_was_removed_meanwhile_is_not_found,
    nobody_joins_a_network_that_is_going,
    the_world_may_be_meant_to_see_the_containers_addresses,
];

fn many_at_once_get_different_addresses() {
    alone(|| {
        let host = Host::new();
        let configs: Vec<_> =
            ('a'..='p').map(|name| host.config(&name.to_string(), publishing(&[]))).collect();
        // The threads of a scope are in the namespace of their maker.
        let guests: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = configs.iter().map(|config| scope.spawn(|| host.start(config))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let addresses: BTreeSet<_> = guests.iter().map(|guest| guest.ip()).collect();
        assert_eq!(addresses.len(), guests.len());
        assert_eq!(addresses.first().unwrap().to_string(), "172.17.0.2");
        assert_eq!(host.networks.list().unwrap().len(), 1);
    });
}

fn what_the_host_uses_is_left_alone() {
    alone(|| {
        let host = Host::new();
        ip("link add other type bridge");
        ip("addr add 172.17.5.1/24 dev other");
        ip("link set other up");
        assert_eq!(host.run("a", publishing(&[])).gateway().to_string(), "172.18.0.1");
        // The default network moves when the host has come to use its addresses; it has no bridge then.
        let second = Host::new();
        second.networks.find("bridge").unwrap();
        ip("addr add 172.19.5.1/24 dev other");
        assert_eq!(second.run("b", publishing(&[])).gateway().to_string(), "172.20.0.1");
    });
}

fn certain_addresses_are_given_or_refused() {
    alone(|| {
        let host = Host::new();
        let create = |name: &str, subnet: &str| {
            host.networks.create(CreateNetwork {
                name: name.to_owned(),
                subnets: vec![subnet.parse().unwrap()],
                ..CreateNetwork::default()
            })
        };
        create("red", "10.5.0.0/24").unwrap();
        assert!(matches!(create("red", "10.6.0.0/24"), Err(NetworkError::NameTaken(_))));
        assert!(matches!(create("blue", "10.5.0.128/25"), Err(NetworkError::Overlap { .. })));
        let at = |address: &str| NetworkRequest {
            networks: vec![Join { ipv4: Some(address.parse().unwrap()), ..Join::new("red") }],
            ..NetworkRequest::default()
        };
        let one = host.run("a", at("10.5.0.77"));
        assert_eq!(one.ip().to_string(), "10.5.0.77");
        for (address, why) in [
            ("10.5.0.77", "Address already in use"),
            ("10.5.0.1", "Address already in use"),
            ("10.5.0.255", "no configured subnet contains"),
            ("10.6.0.1", "no configured subnet contains"),
        ] {
            let error =
                host.networks.attach(&host.config("b", at(address)).member()).unwrap_err().to_string();
            assert!(error.contains(why), "{address}: {error}");
        }
        let error = host.networks.attach(&host.config("b", on("green")).member()).unwrap_err();
        assert_eq!(error.to_string(), "network green not found");
        let red = host.networks.find("red").unwrap();
        let error = host.networks.remove(&red).unwrap_err().to_string();
        assert!(error.contains("has active endpoints (name:\"a\""), "{error}");
        host.networks.release(&one.attached.attachment.container).unwrap();
        host.networks.remove(&red).unwrap();
        assert!(!moat_network::link::exists(&red.bridge));
    });
}

fn a_network_inside_a_wider_route_is_no_conflict() {
    alone(|| {
        let host = Host::new();
        ip("link add other type bridge");
        ip("link set other up");
        ip("addr add 10.99.0.1/24 dev other");
        ip("route add 10.0.0.0/8 via 10.99.0.9 dev other");
        let create = |name: &str, subnet: &str| {
            let subnets = vec![subnet.parse().unwrap()];
            host.networks.create(CreateNetwork { name: name.to_owned(), subnets, ..CreateNetwork::default() })
        };
        create("red", "10.5.0.0/24").unwrap();
        assert_eq!(host.run("a", on("red")).gateway().to_string(), "10.5.0.1");
        // The host is there itself.
        assert!(matches!(create("blue", "10.99.0.0/16"), Err(NetworkError::Overlap { .. })));
        assert!(matches!(create("blue", "10.99.0.0/24"), Err(NetworkError::Overlap { .. })));
    });
}

fn a_network_that_was_removed_meanwhile_is_not_found() {
    alone(|| {
        let host = Host::new();
        let wanted = CreateNetwork { name: "red".to_owned(), ..CreateNetwork::default() };
        let red = host.networks.create(wanted).unwrap();
        host.networks.remove(&red).unwrap();
        assert!(matches!(host.networks.remove(&red), Err(NetworkError::NotFound(_))));
    });
}

fn nobody_joins_a_network_that_is_going() {
    alone(|| {
        let host = Host::new();
        let config = host.config("a", on("red"));
        let directory = host.root.containers().join(config.id.as_str());
        std::fs::create_dir_all(&directory).unwrap();
        let _runs = Lock::attempt(&directory.join("lock")).unwrap().unwrap();
        std::thread::scope(|scope| {
            let makers = scope.spawn(|| {
                for _ in 0..60 {
                    let wanted = CreateNetwork { name: "red".to_owned(), ..CreateNetwork::default() };
                    if let Err(NetworkError::NameTaken(_)) = host.networks.create(wanted) {
                        let _ = host.networks.find("red").and_then(|red| host.networks.remove(&red));
                    }
                }
            });
            while !makers.is_finished() {
                match host.networks.attach(&config.member()) {
                    Ok(attached) => {
                        let joined = &attached.unwrap().attachment.endpoints[0].network;
                        // While a container is on it no command removes it.
                        let networks = host.networks.list().unwrap();
                        assert!(networks.iter().any(|network| network.id == *joined), "it is gone");
                        host.networks.release(&config.id).unwrap();
                    }
                    Err(NetworkError::NotFound(_)) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        });
    });
}

fn the_world_may_be_meant_to_see_the_containers_addresses() {
    alone(|| {
        let host = Host::new();
        let world = host.world();
        let create = |name: &str, value: &str| {
            let options = [("com.docker.network.bridge.enable_ip_masquerade".to_owned(), value.to_owned())];
            let wanted =
                CreateNetwork { name: name.to_owned(), options: options.into(), ..CreateNetwork::default() };
            host.networks.create(wanted)
        };
        for (guest, network, value) in [("a", "red", "0"), ("b", "blue", "False"), ("c", "green", "1")] {
            create(network, value).unwrap();
            let guest = host.run(guest, on(network));
            guest.cable().send(&guest.datagram(1, (crate::host::WORLD, 9), "hello"));
            let seen = world.datagram().from.0;
            assert_eq!(seen == crate::host::HOST, value == "1", "{value}");
            assert_eq!(seen == guest.ip(), value != "1", "{value}");
        }
        assert!(create("white", "no").unwrap_err().to_string().contains("true or false, not 'no'"));
    });
}
