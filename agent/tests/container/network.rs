//! Interfaces, /etc/resolv.conf, and the name server, in network namespaces of this kernel.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use moat_protocol::names::{MAX_PENDING, MIN_MESSAGE, NAMES_HEADER, NamesHeader, Transport};
use moat_protocol::{
    ContainerSpec, Dns, ExitStatus, GuestMessage, HostMessage, HostsEntry, Interface, InterfaceAddress,
    MacAddress, RESOLVER, StartFailure,
};
use moat_test_harness::{Test, tests};
use nix::sched::{CloneFlags, setns};

use crate::machine::{Machine, PROCESS, REQUEST, shell, spec, token_of};

pub const TESTS: &[Test] = tests![
    interfaces_get_what_the_host_chose,
    an_interface_without_a_device_is_named,
    resolv_conf_names_the_name_server_and_is_no_change,
    queries_are_carried_to_the_host_and_answers_back,
    port_53_is_still_the_containers,
    a_flood_of_queries_is_bounded_and_passes,
    programs_look_names_up,
    a_lost_host_ends_the_name_server_alone,
    an_interface_comes_while_the_container_runs,
];

const PATIENCE: Duration = Duration::from_secs(60);

const ASKED: (&str, u16) = ("127.0.0.11", 53);

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0x42, 10, 9, 0, last])
}

fn interface(name: &str, last: u8) -> Interface {
    let address = |text: String, prefix| InterfaceAddress { address: text.parse().unwrap(), prefix };
    Interface {
        mac: mac(last),
        name: name.to_owned(),
        mtu: 1400,
        addresses: vec![address(format!("10.9.0.{last}"), 24), address(format!("fd09::{last}"), 64)],
        gateway_v4: Some([10, 9, 0, 1].into()),
        gateway_v6: Some("fd09::1".parse().unwrap()),
    }
}

fn with_names(mut spec: ContainerSpec) -> ContainerSpec {
    spec.network.dns = Dns {
        servers: vec![RESOLVER.into()],
        search: vec!["moat.example".to_owned()],
        options: vec!["ndots:0".to_owned()],
    };
    spec
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A cable between two guests.
fn cable(one: (&Machine, &str, u8), other: (&Machine, &str, u8)) {
    let words = |end: (&Machine, &str, u8)| {
        [end.1.to_owned(), "address".into(), mac(end.2).to_string(), "netns".into(), end.0.pid().to_string()]
    };
    let (one, other) = (words(one), words(other));
    let mut all = vec!["link", "add", "name"];
    all.extend(one.iter().map(String::as_str));
    all.extend(["type", "veth", "peer", "name"]);
    all.extend(other.iter().map(String::as_str));
    ip(&all);
}

/// Runs `work` in a guest's network namespace.
fn inside<T: Send + 'static>(machine: &Machine, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(format!("/proc/{}/ns/net", machine.pid())).unwrap();
    let enter = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    thread::spawn(enter).join().unwrap()
}

fn interfaces_get_what_the_host_chose() {
    let (mut one, mut other) = (Machine::boot(|_| {}), Machine::boot(|_| {}));
    // Each has the other's name: what counts is the hardware address.
    cable((&one, "eth0", 3), (&other, "x", 2));
    cable((&one, "eth1", 4), (&other, "y", 5));
    let mut answering = shell("read line");
    answering.open_stdin = true;
    answering.network.interfaces = vec![interface("eth0", 2)];
    let mut answering = other.start(answering).unwrap();
    let mut asking = shell(
        "ip -o link | grep -v LOOPBACK | sort; ip route; ip -6 route show default; ip addr show eth0 | grep -o 'inet.*'; \
         cat /proc/sys/net/ipv6/conf/eth0/accept_ra /proc/sys/net/ipv6/conf/eth1/disable_ipv6; \
         ping -c 1 -w 20 10.9.0.2 >/dev/null && ping -6 -c 1 -w 20 fd09::2 >/dev/null && echo reached",
    );
    asking.network.interfaces = vec![interface("eth1", 3), interface("eth0", 4)];
    // The second has no way out of its network, and no IPv6.
    for interface in &mut asking.network.interfaces[..1] {
        interface.addresses.truncate(1);
        (interface.gateway_v4, interface.gateway_v6) = (None, None);
        interface.addresses[0].address = "10.8.0.3".parse().unwrap();
    }
    // The cable of eth0 is the one to the guest that answers.
    asking.network.interfaces.swap(0, 1);
    asking.network.interfaces[0].mac = mac(3);
    asking.network.interfaces[1].mac = mac(4);
    let output = one.run(asking).output();
    for expected in [
        "eth0@",
        "mtu 1400",
        "default via 10.9.0.1 dev eth0",
        "10.9.0.0/24 dev eth0 scope link  src 10.9.0.4",
        "10.8.0.0/24 dev eth1 scope link  src 10.8.0.3",
        "default via fd09::1 dev eth0",
        "inet 10.9.0.4/24 brd 10.9.0.255",
        "inet6 fd09::4/64",
        "\n0\n1\nreached\n",
    ] {
        assert!(output.contains(expected), "{expected:?} is not in\n{output}");
    }
    assert!(!output.contains("tentative"), "{output}");
    answering.type_in("\n");
    assert_eq!(other.exit(), ExitStatus::Code(0));
}

fn an_interface_without_a_device_is_named() {
    let mut spec = shell("true");
    spec.network.interfaces = vec![interface("eth0", 7)];
    let mut machine = Machine::boot(|_| {});
    // It is refused before it opens a stream.
    machine.send(&HostMessage::Start { process: PROCESS, token: token_of(PROCESS), spec: Box::new(spec) });
    let message = "the guest has no network device with the address 02:42:0a:09:00:07".to_owned();
    let failed = GuestMessage::StartFailed { process: PROCESS, failure: StartFailure::Setup, message };
    assert_eq!(machine.receive(), failed);
}

fn resolv_conf_names_the_name_server_and_is_no_change() {
    let mut machine = Machine::boot(|_| {});
    let mut streams =
        machine.start(with_names(shell("cat /etc/resolv.conf; echo '#' >>/etc/resolv.conf"))).unwrap();
    let (stdout, _) = streams.read_all();
    assert_eq!(stdout, "nameserver 127.0.0.11\nsearch moat.example\noptions ndots:0\n");
    assert_eq!(machine.exit(), ExitStatus::Code(0));
    assert!(machine.changes().is_empty());
}

/// The host's half of the name server.
struct Names(UnixStream);

impl Names {
    fn query(&mut self) -> (NamesHeader, Vec<u8>) {
        let mut header = [0; NAMES_HEADER];
        self.0.read_exact(&mut header).unwrap();
        let header = NamesHeader::parse(header).unwrap();
        let mut query = vec![0; header.length.into()];
        self.0.read_exact(&mut query).unwrap();
        (header, query)
    }

    fn answer(&mut self, query: NamesHeader, answer: &[u8]) {
        let header = NamesHeader { length: answer.len() as u16, ..query };
        self.0.write_all(&header.encode()).unwrap();
        self.0.write_all(answer).unwrap();
    }
}

/// A guest that runs until it is told to end, and the host's half of its name server.
fn asking() -> (Machine, crate::host::Streams, Names) {
    let mut machine = Machine::boot(|_| {});
    let mut spec = with_names(shell("read line"));
    spec.open_stdin = true;
    let mut streams = machine.start(spec).unwrap();
    let names = Names(streams.names.take().unwrap());
    (machine, streams, names)
}

fn message(fill: u8, length: usize) -> Vec<u8> {
    vec![fill; length]
}

fn queries_are_carried_to_the_host_and_answers_back() {
    let (machine, _streams, mut names) = asking();
    let host = thread::spawn(move || {
        // Out of order, each to the one who asked.
        let queries: Vec<_> = (0..4).map(|_| names.query()).collect();
        for (header, query) in queries.iter().rev() {
            let length = if header.transport == Transport::Tcp { 60_000 } else { 500 };
            names.answer(*header, &message(query[0] + 100, length));
        }
        // No program waits for such an answer.
        names.answer(NamesHeader { tag: 999, ..queries[0].0 }, &message(0, MIN_MESSAGE));
        let (header, query) = names.query();
        names.answer(header, &query);
        let asked = queries.iter().map(|(header, query)| (query[0], query.len(), header.transport));
        // Its connection stays open until the last answer has been read.
        (asked.collect::<HashSet<_>>(), names)
    });
    let answers = inside(&machine, || {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("0.0.0.0:0").unwrap();
        other.connect(ASKED).unwrap();
        one.set_read_timeout(Some(PATIENCE)).unwrap();
        other.set_read_timeout(Some(PATIENCE)).unwrap();
        // Too short and too long to be anything.
        one.send_to(&message(9, MIN_MESSAGE - 1), ASKED).unwrap();
        one.send_to(&message(9, 5000), ASKED).unwrap();
        one.send_to(&message(1, 30), ASKED).unwrap();
        other.send(&message(2, 31)).unwrap();
        let mut streams: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(ASKED).unwrap()).collect();
        for (stream, fill) in streams.iter_mut().zip(3..) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&[0]).unwrap();
            stream.write_all(&[40]).unwrap();
            stream.write_all(&message(fill, 40)).unwrap();
        }
        let mut answers = Vec::new();
        let mut buffer = [0; 4096];
        let (length, from) = one.recv_from(&mut buffer).unwrap();
        assert_eq!(from, SocketAddr::from(([127, 0, 0, 11], 53)));
        answers.push((buffer[0], length));
        let length = other.recv(&mut buffer).unwrap();
        answers.push((buffer[0], length));
        for stream in &mut streams {
            let mut answer = vec![0; 60_002];
            stream.read_exact(&mut answer).unwrap();
            answers.push((answer[2], usize::from(u16::from_be_bytes([answer[0], answer[1]]))));
        }
        // The connection takes another one.
        streams[0].write_all(&[0, 12]).unwrap();
        streams[0].write_all(&message(7, 12)).unwrap();
        let mut answer = [0; 14];
        streams[0].read_exact(&mut answer).unwrap();
        answers.push((answer[13], 12));
        answers
    });
    assert_eq!(answers, [(101, 500), (102, 500), (103, 60_000), (104, 60_000), (7, 12)]);
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    let (asked, _names) = host.join().unwrap();
    assert_eq!(asked, [(1, 30, udp), (2, 31, udp), (3, 40, tcp), (4, 40, tcp)].into());
}

fn port_53_is_still_the_containers() {
    let (machine, _streams, _names) = asking();
    inside(&machine, || {
        let _udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        let _tcp = std::net::TcpListener::bind("0.0.0.0:53").unwrap();
        let _exact = UdpSocket::bind("127.0.0.11:53").unwrap_err();
    });
}

fn a_flood_of_queries_is_bounded_and_passes() {
    let (mut machine, mut streams, mut names) = asking();
    // More clients than there is room for, each of which has said half of something.
    let clients = inside(&machine, || {
        let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
        flood.connect(ASKED).unwrap();
        for _ in 0..5000 {
            flood.send(&message(5, 100)).unwrap();
        }
        let clients: Vec<TcpStream> = (0..40).filter_map(|_| TcpStream::connect(ASKED).ok()).collect();
        clients.iter().for_each(|mut client| drop(client.write_all(&[0, 90, 1])));
        clients
    });
    // The agent is there for others meanwhile.
    machine.send(&HostMessage::Stats { request: REQUEST });
    assert!(matches!(machine.receive(), GuestMessage::Stats { .. }));
    let pending: Vec<_> = (0..MAX_PENDING).map(|_| names.query()).collect();
    names.0.set_nonblocking(true).unwrap();
    machine.send(&HostMessage::Stats { request: REQUEST });
    assert!(matches!(machine.receive(), GuestMessage::Stats { .. }));
    assert_eq!(names.0.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    names.0.set_nonblocking(false).unwrap();
    for (header, query) in pending {
        names.answer(header, &query);
    }
    // With that there is room, and the next ones come.
    let (header, query) = names.query();
    names.answer(header, &query);
    drop(clients);
    streams.type_in("\n");
    let exit = machine.receive();
    assert!(
        matches!(exit, GuestMessage::Exited { process: PROCESS, status: ExitStatus::Code(0), .. }),
        "{exit:?}"
    );
}

fn programs_look_names_up() {
    let mut machine = Machine::boot(|root| {
        std::os::unix::fs::symlink("busybox", root.join("bin/nslookup")).unwrap();
    });
    let mut streams = machine.start(with_names(spec(&["nslookup", "-type=a", "db.example"]))).unwrap();
    let mut names = Names(streams.names.take().unwrap());
    let (header, query) = names.query();
    assert!(query.windows(12).any(|window| window == b"\x02db\x07example\0"), "{query:?}");
    let mut answer = query.clone();
    answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 11, 12, 13]);
    names.answer(header, &answer);
    let (stdout, stderr) = streams.read_all();
    assert!(stdout.contains("10.11.12.13"), "{stdout}{stderr}");
}

fn a_lost_host_ends_the_name_server_alone() {
    let (mut machine, mut streams, names) = asking();
    drop(names);
    machine.send(&HostMessage::Stats { request: REQUEST });
    assert!(matches!(machine.receive(), GuestMessage::Stats { .. }));
    streams.type_in("\n");
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}

fn an_interface_comes_while_the_container_runs() {
    let (mut machine, other) = (Machine::boot(|_| {}), Machine::boot(|_| {}));
    let mut spec = shell(
        "read line; cat /etc/resolv.conf /etc/hosts; ip -o addr show eth7 | grep -o 'inet [^ ]*'; \
         ip -6 -o addr show eth7 | grep -c fd09; echo '# mine' >>/etc/resolv.conf; \
         echo changed; read line; cat /etc/resolv.conf",
    );
    spec.open_stdin = true;
    let mut streams = machine.start(spec).unwrap();
    cable((&machine, "v", 9), (&other, "w", 8));
    let connect = |interface, option: &str| HostMessage::ConnectNetwork {
        request: REQUEST,
        device: "virtio-mmio.6".to_owned(),
        interface,
        hosts: vec![HostsEntry { address: "10.9.0.9".to_owned(), names: vec!["box".to_owned()] }],
        dns: Dns { servers: vec![RESOLVER.into()], search: Vec::new(), options: vec![option.to_owned()] },
    };
    machine.send(&connect(interface("eth7", 9), "ndots:0"));
    assert_eq!(machine.receive(), GuestMessage::NetworkChanged { request: REQUEST });
    // There is no such device, and on this machine no such driver.
    machine.send(&connect(interface("eth8", 77), "ndots:9"));
    let failed = machine.receive();
    let GuestMessage::NetworkFailed { request: REQUEST, message } = failed else { panic!("{failed:?}") };
    assert!(message.starts_with("cannot bind the device virtio-mmio.6"), "{message}");
    // One that is gone is what is wanted.
    let device = "virtio-mmio.6".to_owned();
    machine.send(&HostMessage::DisconnectNetwork { request: REQUEST, device, mac: mac(77) });
    assert_eq!(machine.receive(), GuestMessage::NetworkChanged { request: REQUEST });
    streams.type_in("\n");
    let expected = "nameserver 127.0.0.11\noptions ndots:0\n127.0.0.1\tlocalhost\n10.9.0.9\tbox\n\
        inet 10.9.0.9/24\n1\nchanged\n";
    assert_eq!(streams.wait_for("changed\n"), expected);
    // What the container has made of its file stays.
    let no_news = Interface { gateway_v4: None, gateway_v6: None, ..interface("eth7", 9) };
    machine.send(&connect(no_news, "ndots:3"));
    assert_eq!(machine.receive(), GuestMessage::NetworkChanged { request: REQUEST });
    streams.type_in("\n");
    assert_eq!(streams.read_all().0, "nameserver 127.0.0.11\noptions ndots:0\n# mine\n");
}
