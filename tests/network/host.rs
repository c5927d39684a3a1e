//! A host in a network namespace of its own, and guests that hold their taps themselves: what a virtual machine would
//! send is written frame by frame.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use moat_containers::config::ContainerConfig;
use moat_network::attach::Attached;
use moat_network::endpoint::Endpoint;
use moat_network::port::PortRequest;
use moat_network::request::{ExtraHost, Join, NetworkRequest};
use moat_network::{Networks, tap};
use moat_records::record::Lock;
use moat_records::root::Root;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use crate::frame::{self, Frame};

/// What a virtio-net header has when nothing is left to the other side, and how long it is in a tap.
const VNET_HEADER: [u8; 10] = [0; 10];

/// The host's address on its cable to the world, and the one machine there.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
pub const WORLD_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 9];

/// What a host can be like before Moat comes. A new namespace has some of it from the machine that the tests run on.
#[derive(Debug, Clone, Copy)]
pub enum World {
    /// As it was booted.
    Fresh,
    /// With forwarding on, and frames on bridges shown to the rules for IP (`br_netfilter`): what Docker leaves.
    Dockers,
}

impl World {
    fn make(self) {
        let value = match self {
            Self::Fresh => "0",
            Self::Dockers => "1",
        };
        set("ipv4/ip_forward", value);
        set("ipv6/conf/all/forwarding", value);
        if std::path::Path::new("/proc/sys/net/bridge").exists() {
            for kind in ["iptables", "ip6tables", "arptables"] {
                set(&format!("bridge/bridge-nf-call-{kind}"), value);
            }
        }
        ip("link set lo up");
    }
}

/// Runs a test on each kind of host.
pub fn alone(test: impl FnOnce() + Clone + Send + 'static) {
    for world in [World::Fresh, World::Dockers] {
        alone_on(world, test.clone());
    }
}

/// Runs a test on one kind of host, in a thread with a network namespace of its own.
pub fn alone_on(world: World, test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        world.make();
        test();
    });
    if let Err(panic) = thread.join() {
        eprintln!("on this kind of host: {world:?}");
        std::panic::resume_unwind(panic);
    }
}

/// The host passes nothing on, or all, as its administrator has decided.
pub fn forwards(is_on: bool) {
    for option in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        set(option, if is_on { "1" } else { "0" });
    }
}

pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip runs");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sets one of the options below /proc/sys/net of the test's host.
pub fn set(option: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{option}"), value).expect("an option that can be set");
}

/// Gives the host an IPv6 address, which it has a moment later.
pub fn own_v6(address: &str, interface: &str) {
    ip(&format!("addr add {address}/64 dev {interface} nodad"));
    let is_there = || shown("-6 route show table local").contains(&format!("local {address} "));
    eventually("the host has its address", is_there);
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not within ten seconds: {what}");
}

/// A root directory, and the cable to the world.
pub struct Host {
    _directory: tempfile::TempDir,
    pub root: Root,
    pub networks: Networks,
}

impl Host {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Root::open(directory.path()).expect("a root");
        let networks = Networks::of(&root);
        Self { _directory: directory, root, networks }
    }

    /// The world's end of the host's cable.
    pub fn world(&self) -> Cable {
        let cable = self.cable("wan0", &format!("{HOST}/24"));
        ip(&format!("neigh replace {WORLD} lladdr {} dev wan0", frame::mac_text(WORLD_MAC)));
        cable
    }

    /// The other end of a cable on which the host has this address.
    pub fn cable(&self, name: &str, address: &str) -> Cable {
        let tap = tap::open(name, 1).expect("a tap").remove(0);
        ip(&format!("link set {name} up"));
        ip(&format!("addr add {address} dev {name}"));
        Cable::new(tap)
    }

    /// The hardware addresses of what the world sends to the host.
    pub fn world_macs(&self) -> ([u8; 6], [u8; 6]) {
        (WORLD_MAC, mac_of("wan0"))
    }

    pub fn config(&self, name: &str, network: NetworkRequest) -> ContainerConfig {
        let digit = name.bytes().next().expect("a name");
        let mut config = json!({
            "id": format!("{digit:02x}").repeat(32), "name": name, "created": "2026-01-02T15:04:05Z",
            "image": "x", "image_id": format!("sha256:{}", "a".repeat(64)),
            "process": {
                "args": ["x"], "entrypoint": 0, "env": [], "working_dir": "/", "user": "", "terminal": false,
                "open_stdin": false, "stdin_once": false, "stop_signal": 15, "stop_timeout": 10, "ulimits": [],
            },
            "hostname": name, "resources": {"memory_mib": 256, "milli_cpus": null, "pids_limit": null},
            "read_only": false, "tmpfs": [], "auto_remove": false, "labels": {}, "restart": "no", "health": null,
            "log": {"max_size": 1, "max_files": 1},
            "security": {"privileged": false, "cap_add": [], "cap_drop": [], "no_new_privileges": false},
            "sysctls": {}, "shm_size": 1, "init": false, "exposed_ports": ["80/tcp"], "volumes": [],
        });
        config["network"] = serde_json::to_value(network).expect("JSON");
        serde_json::from_value(config).expect("a configuration")
    }

    /// A container that runs, as far as networks are concerned.
    pub fn start(&self, config: &ContainerConfig) -> Guest {
        let directory = self.root.containers().join(config.id.as_str());
        std::fs::create_dir_all(&directory).expect("a directory");
        let lock_path = directory.join("lock");
        let lock = Lock::attempt(&lock_path).expect("a lock").expect("it is free");
        let attached = self.networks.attach(&config.member()).expect("networks").expect("some");
        let taps = attached.open_taps(1).expect("taps");
        let cables = taps.into_iter().map(|mut queues| Cable::new(queues.remove(0))).collect();
        let guest = Guest { config: config.clone(), attached, cables, lock_path, _lock: lock };
        guest.settle();
        guest
    }

    /// The container joins one more network, and has one more cable in its hands.
    pub fn join(&self, guest: &mut Guest, join: Join) -> Endpoint {
        let (after, held) = self.networks.join(&guest.config.member(), &join).expect("a network");
        let endpoint = after.endpoints.last().expect("an endpoint").clone();
        guest.cables.push(Cable::new(endpoint.open_tap(1).expect("a tap").remove(0)));
        guest.attached.change(after, held);
        guest.settle();
        endpoint
    }

    pub fn run(&self, name: &str, request: NetworkRequest) -> Guest {
        self.start(&self.config(name, request))
    }
}

/// The hardware address of one of the host's interfaces.
pub fn mac_of(name: &str) -> [u8; 6] {
    let text = shown(&format!("-o link show {name}"));
    let mac = text.split("link/ether ").nth(1).expect("an address").split(' ').next().expect("an address");
    let bytes: Vec<u8> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
    bytes.try_into().expect("six bytes")
}

/// What `ip` has to say.
pub fn shown(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip runs");
    String::from_utf8(output.stdout).expect("text")
}

/// On the default network, with these ports.
pub fn publishing(ports: &[&str]) -> NetworkRequest {
    let ports = ports.iter().flat_map(|text| PortRequest::parse(text).expect("ports")).collect();
    NetworkRequest { ports, ..NetworkRequest::usual() }
}

pub fn on(network: &str) -> NetworkRequest {
    NetworkRequest { networks: vec![Join::new(network)], ..NetworkRequest::default() }
}

pub fn with_host(mut request: NetworkRequest) -> NetworkRequest {
    request.extra_hosts.push(ExtraHost { name: "host".to_owned(), address: None });
    request
}

/// A hostile guest: it has its cables in its hands.
pub struct Guest {
    pub config: ContainerConfig,
    pub attached: Attached,
    pub cables: Vec<Cable>,
    lock_path: PathBuf,
    _lock: Lock,
}

impl Guest {
    pub fn ip(&self) -> Ipv4Addr {
        self.attached.attachment.endpoints[0].ipv4.addr()
    }

    pub fn mac(&self) -> [u8; 6] {
        self.attached.attachment.endpoints[0].mac.0
    }

    pub fn gateway(&self) -> Ipv4Addr {
        self.attached.attachment.endpoints[0].gateway4
    }

    /// The host's hardware address on the guest's network.
    pub fn gateway_mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.gateway().octets();
        [0x02, 0x42, a, b, c, d]
    }

    pub fn cable(&self) -> &Cable {
        &self.cables[0]
    }

    /// A datagram of its own, by way of the host.
    pub fn datagram(&self, from: u16, to: (Ipv4Addr, u16), text: &str) -> Frame {
        frame::udp((self.mac(), self.gateway_mac()), (self.ip(), from), to, text.as_bytes())
    }

    /// What the kernel does for a process that is killed.
    pub fn kill(self) {
        let path = self.lock_path.clone();
        drop(self);
        // A child that another test has just made has the lock too, until it is a program of its own.
        while Lock::attempt(&path).expect("a lock").is_none() {
            std::thread::yield_now();
        }
    }

    /// Waits until its cables carry frames, and tells the host which hardware address it has, as an answer to ARP would.
    ///
    /// The kernel notices in the background that a tap was opened: until then the bridge's port drops what is sent to it,
    /// and so does a bridge whose first port this is. A virtual machine boots for longer than that.
    fn settle(&self) {
        for endpoint in &self.attached.attachment.endpoints {
            let forwards = || {
                shown(&format!("-d link show {}", endpoint.tap)).contains("state forwarding")
                    && shown(&format!("link show {}", endpoint.bridge)).contains("state UP")
            };
            eventually("the bridge forwards to the guest", forwards);
            ip(&format!(
                "neigh replace {} lladdr {} dev {}",
                endpoint.ipv4.addr(),
                endpoint.mac,
                endpoint.bridge
            ));
        }
    }
}

/// One end of an Ethernet cable.
pub struct Cable(File);

impl Cable {
    fn new(tap: OwnedFd) -> Self {
        Self(tap.into())
    }

    pub fn send(&self, frame: &Frame) {
        (&self.0).write_all(&[&VNET_HEADER, frame.as_slice()].concat()).expect("a frame can be sent");
    }

    /// The next frame that `wanted` chooses. Waiting long means that it does not come.
    pub fn receive<T>(&self, wanted: impl Fn(&[u8]) -> Option<T>) -> T {
        let limit = PollTimeout::try_from(Duration::from_secs(20)).expect("a timeout");
        loop {
            let frame = self.next(limit).expect("no such frame came");
            if let Some(found) = wanted(&frame) {
                return found;
            }
        }
    }

    fn next(&self, limit: PollTimeout) -> Option<Frame> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, limit).expect("poll") == 0 {
            return None;
        }
        let mut buffer = [0; 2048];
        let length = (&self.0).read(&mut buffer).expect("a frame");
        Some(buffer[VNET_HEADER.len()..length].to_vec())
    }

    /// All frames that are there already.
    pub fn arrived(&self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next(PollTimeout::ZERO)).collect()
    }

    /// The next datagram.
    pub fn datagram(&self) -> frame::Datagram {
        self.receive(frame::parse_udp)
    }
}
