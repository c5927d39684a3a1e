//! Flows that go on while containers come and go.

use std::net::UdpSocket;

use crate::frame;
use crate::host::{Guest, HOST, Host, WORLD, alone, publishing};

/// The next datagram to its address. A bridge that does not know yet where somebody is sends to all.
fn for_it(guest: &Guest) -> String {
    let own = |frame: &[u8]| frame::parse_udp(frame).filter(|datagram| datagram.to.0 == guest.ip());
    guest.cable().receive(own).text
}

#[test]
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
        say("to nobody");
        // Somebody else has its address now, and the container another one.
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

#[test]
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
        // A flow of somebody else to the same port in the world is nobody's business.
        client.cable().send(&client.datagram(1, (WORLD, 5353), "question"));
        let asked = world.datagram().from;
        let guest = host.run("a", publishing(&["5353:53/udp"]));
        say("to the container");
        assert_eq!(guest.cable().datagram().text, "to the container");
        world.send(&frame::udp(macs, (WORLD, 5353), asked, b"answer"));
        assert_eq!(for_it(&client), "answer");
    });
}
