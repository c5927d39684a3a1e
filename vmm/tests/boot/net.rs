//! Networks with a real driver and a real tap: the host's half and the guest's half of each test. The host's end is in a
//! network namespace that the test makes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use moat_vmm::config::{NetworkCard, NetworkConfig, RateLimit};
use moat_vmm::control::{Answer, Command};
use moat_vmm::report::StopReason;
use nix::net::if_::if_nametoindex;

use crate::interface::{BROADCAST, GUEST, HOST, bring_up, counter, tap};
use crate::vm::{Bench, Plan, Vm, resident};
use crate::vsock::{dialled, guest_waits_at, noise};

/// All cases, as in [`crate::cases`].
pub const CASES: &[(&str, crate::cases::Case)] = &[
    ("net_carries_ping_udp_and_tcp_both_ways", both_ways),
    ("net_has_as_many_queues_as_processors", several_queues),
    ("net_comes_and_goes_while_the_vm_runs", hot_plug),
    ("net_survives_a_flood_that_the_guest_does_not_take", flood),
    ("net_keeps_to_its_limits", limits),
    ("impossible_networks_are_refused", impossible),
];

/// What each connection carries in each direction: enough to fill every queue on the way many times.
const BULK: usize = 1 << 20;
/// What shows a limit.
const LIMITED: usize = 4 << 20;
/// The port where each side echoes.
const ECHO: u16 = 7;
/// How long one side waits for a datagram before it sends it again.
const AGAIN: Duration = Duration::from_secs(5);

const CARD: NetworkCard = NetworkCard { mac: [2, 0x42, 10, 9, 0, 2], mtu: 1500, receive: None, send: None };

/// Runs a test on a thread with a network namespace of its own.
fn apart(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A tap with the host's address, and the guest's card on it.
fn with_card(mut plan: Plan<'_>, queues: usize, card: NetworkCard) -> Plan<'_> {
    let taps = tap("tap0", queues);
    bring_up("tap0", HOST);
    let taps = taps.into_iter().map(|tap| plan.inherit(tap)).collect();
    plan.card(NetworkConfig { taps, card })
}

fn both_ways(bench: &Bench) {
    apart(|| {
        let plan = with_card(bench.plan("net").with(|config| config.memory_mib = 256), 1, CARD);
        echo();
        let vm = plan.launch(true);
        let waiting = dialled(&vm, 1);
        ping();
        udp(GUEST);
        tcp(GUEST);
        drop(waiting);
        vm.end().expect(StopReason::PowerOff).said("address 02:42:0a:09:00:02, MTU 1500");
    });
}

/// More queues than processors: the guest uses some, and the host must not give frames to the others.
fn several_queues(bench: &Bench) {
    for (queues, cpus, used) in [(2, 2, 2), (4, 2, 2)] {
        apart(|| {
            let plan = with_card(bench.plan("net-queues"), queues, CARD).with(|config| config.vcpus = cpus);
            echo();
            let vm = plan.launch(true);
            let waiting = dialled(&vm, 1);
            for _ in 0..8 {
                udp(GUEST);
            }
            tcp(GUEST);
            drop(waiting);
            vm.end().expect(StopReason::PowerOff).said(&format!("{used} queues in use"));
        });
    }
}

/// Twice in one place, with two queues and then with one; the second time the host does not wait for the guest's driver.
fn hot_plug(bench: &Bench) {
    apart(|| {
        let plan = bench.plan("net-plug").with(|config| config.vcpus = 2).spare_networks(2);
        let vm = plan.launch(true);
        echo();
        let refused = |answer: Answer, why: &str| {
            assert!(matches!(&answer, Answer::Refused { message } if message.contains(why)), "{answer:?}");
        };
        let attach = |slot, card| Command::AttachNetwork { slot, card };
        for (queues, careful) in [(2, true), (1, false)] {
            let waiting = dialled(&vm, 1);
            let taps = tap("tap0", queues);
            bring_up("tap0", HOST);
            refused(vm.command(attach(1, CARD)), "0 taps came along");
            refused(vm.command(attach(2, CARD)), "slot is 2, but must be below 2");
            refused(vm.command_with(attach(2, CARD), &taps), "slot is 2, but must be below 2");
            refused(vm.command_with(Command::Memory {}, &taps), "takes none");
            refused(vm.command(Command::DetachNetwork { slot: 1 }), "slot 1 is empty");
            let null = [std::fs::File::open("/dev/null").unwrap().into()];
            refused(vm.command_with(attach(1, CARD), &null), "not a tap device");
            let answer = vm.command_with(attach(1, CARD), &taps);
            // Behind vsock, the random generator, the balloon and the other place.
            assert_eq!(answer, Answer::Network { device: "virtio-mmio.4".to_owned() });
            refused(vm.command_with(attach(1, CARD), &taps), "slot 1 is taken");
            drop(waiting);
            let waiting = dialled(&vm, 2);
            ping();
            tcp(GUEST);
            if careful {
                drop(waiting);
                let waiting = dialled(&vm, 3);
                assert!(matches!(vm.command(Command::DetachNetwork { slot: 1 }), Answer::Network { .. }));
                drop(waiting);
            } else {
                // Frames are on their way when it happens.
                let flooding = UdpSocket::bind((HOST, 0)).unwrap();
                for _ in 0..200 {
                    flooding.send_to(&[1; 1000], (GUEST, 9)).unwrap();
                }
                assert!(matches!(vm.command(Command::DetachNetwork { slot: 1 }), Answer::Network { .. }));
                drop(waiting);
                drop(dialled(&vm, 3));
            }
            drop(taps);
            // The VM has closed its own: the device is gone.
            let deadline = Instant::now() + Duration::from_secs(60);
            while if_nametoindex("tap0").is_ok() {
                assert!(Instant::now() < deadline, "the tap is still there");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        vm.end().expect(StopReason::PowerOff).said("came and went twice");
    });
}

fn flood(bench: &Bench) {
    apart(|| {
        let vm = with_card(bench.plan("net-late"), 1, CARD).launch(true);
        // The driver is there, and has no buffers before its interface is up.
        let waiting = dialled(&vm, 1);
        echo();
        let (_, before) = resident(vm.process(), 128);
        let sender = UdpSocket::bind((HOST, 0)).unwrap();
        sender.set_broadcast(true).unwrap();
        let throw = |count: usize| {
            for _ in 0..count {
                sender.send_to(&[1; 1400], (BROADCAST, 9)).unwrap();
            }
        };
        throw(5_000);
        // The tap's own queue is full now. The kernel drops what comes on top there, and wakes no thread.
        let full = worker_time(&vm);
        throw(20_000);
        let ticks = worker_time(&vm) - full;
        let (_, after) = resident(vm.process(), 128);
        println!("    {ticks} ticks of processor time; from {before} to {after} KiB");
        assert!(ticks <= 2, "{ticks} ticks for frames that the guest does not take");
        assert!(after <= before + 512, "from {before} to {after} KiB");
        drop(waiting);
        let waiting = dialled(&vm, 2);
        ping();
        udp(GUEST);
        tcp(GUEST);
        drop(waiting);
        vm.end().expect(StopReason::PowerOff);
    });
}

/// Processor time of the network's thread, in clock ticks.
fn worker_time(vm: &Vm) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", vm.process())).unwrap();
    let stat = tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap())
        .find(|stat| stat.contains("(net0)"))
        .expect("a thread for the network");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // User and system time are the 14th and 15th field; the name was the 2nd.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A limit is broken by being too fast, so the time has a lower bound only.
fn limits(bench: &Bench) {
    apart(|| {
        const RATE: u64 = 2 << 20;
        const BURST: u64 = 256 << 10;
        let limit = Some(RateLimit { per_second: RATE, burst: BURST });
        let card = NetworkCard { receive: limit, send: limit, ..CARD };
        let vm = with_card(bench.plan("net-limits"), 1, card).launch(true);
        let waiting = dialled(&vm, 1);
        let mut stream = TcpStream::connect((GUEST, ECHO)).unwrap();
        for direction in ["to the guest", "from the guest"] {
            let started = Instant::now();
            if direction == "to the guest" {
                stream.write_all(&vec![1; LIMITED]).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                // The guest says when it has all of it.
                stream.read_exact(&mut [0]).unwrap();
            } else {
                stream.read_exact(&mut vec![0; LIMITED - 1]).unwrap();
            }
            let took = started.elapsed();
            // The echo may have started before the clock, with what fits on the way.
            let least = (LIMITED as u64 - 2 * BURST - (512 << 10)) as f64 / RATE as f64;
            println!("    {:.2} MB/s {direction}", LIMITED as f64 / took.as_secs_f64() / 1e6);
            assert!(took.as_secs_f64() >= least, "{took:?} {direction}, which takes {least} s at least");
        }
        drop(waiting);
        vm.end().expect(StopReason::PowerOff);
    });
}

fn impossible(bench: &Bench) {
    let with_taps = |count: usize, mtu: u16| {
        let mut plan = bench.plan("off");
        let taps = (0..count).map(|_| {
            plan.inherit(std::fs::File::options().read(true).write(true).open("/dev/null").unwrap())
        });
        let taps = taps.collect();
        plan.card(NetworkConfig { taps, card: NetworkCard { mtu, ..CARD } })
    };
    let message = with_taps(1, 1500).run().failed("device");
    assert!(message.starts_with("network 0: it is not a tap device"), "{message}");
    let message = with_taps(9, 1500).run().failed("config");
    assert_eq!(message, "the number of taps of network 0 is 9, but must be from 1 to 8");
    let message = with_taps(1, 67).run().failed("config");
    assert_eq!(message, "the MTU of network 0 is 67, but must be from 68 to 65535");
    let message = bench.plan("off").spare_networks(17).run().failed("config");
    assert!(message.ends_with("spare networks is 17, but must be from 0 to 16"), "{message}");
}

// ---- what both halves do

/// Sends back what comes, by TCP and UDP, until the process ends.
fn echo() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ECHO)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream?;
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes)?;
                stream.write_all(&bytes)
            });
        }
    });
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ECHO)).unwrap();
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65536];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    });
}

fn tcp(peer: Ipv4Addr) {
    let bytes = noise(BULK);
    let mut stream = TcpStream::connect((peer, ECHO)).unwrap();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).unwrap();
    assert!(seen == bytes, "bytes were lost or changed");
}

/// Datagrams from one byte to the largest, which goes in fragments. A lost one is sent again.
fn udp(peer: Ipv4Addr) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((peer, ECHO)).unwrap();
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    for length in [1, 100, 1472, 1473, 9000, 60_000] {
        let bytes = noise(length);
        let mut seen = vec![0; 65536];
        let answered = (0..20).any(|_| {
            socket.send(&bytes).unwrap();
            matches!(socket.recv(&mut seen), Ok(count) if seen[..count] == bytes)
        });
        assert!(answered, "{length} bytes");
    }
}

/// Echo requests (RFC 792) to the guest's kernel.
fn ping() {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP) };
    assert!(fd >= 0);
    // SAFETY: the line before has made it.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    socket.connect(SocketAddrV4::new(GUEST, 0)).unwrap();
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    // Type, code, checksum; identifier and sequence number; the sum of all 16-bit words has to be all ones.
    let request = [8, 0, 0xe5, 0xcb, 0x12, 0x34, 0, 0];
    let mut answer = [0; 100];
    let answered = (0..20).any(|_| {
        socket.send(&request).unwrap();
        matches!(socket.recv(&mut answer), Ok(28) if answer[20] == 0 && answer[24..28] == request[4..])
    });
    assert!(answered, "no answer to a ping");
}

// ---- the guest's half

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// The guest's half of [`both_ways`].
pub fn guest_both_ways() {
    let (address, mtu) = (text("/sys/class/net/eth0/address"), text("/sys/class/net/eth0/mtu"));
    println!("address {address}, MTU {mtu}");
    bring_up("eth0", GUEST);
    echo();
    udp(HOST);
    tcp(HOST);
    guest_waits_at(1);
    let (received, sent) = (frame_size("rx"), frame_size("tx"));
    println!("{received} bytes in a frame received, {sent} in one sent");
    for wrong in ["rx_errors", "rx_dropped", "tx_errors", "tx_dropped"] {
        assert_eq!(counter("eth0", wrong), 0, "{wrong}");
    }
    // As digits from bit 0 on: checksums, segments and merged buffers both ways.
    let features = text("/sys/class/net/eth0/device/features");
    for bit in [0, 1, 7, 8, 11, 12, 15] {
        assert_eq!(features.as_bytes()[bit], b'1', "bit {bit} of {features}");
    }
}

/// The mean, in bytes: more than the MTU shows whole segments of TCP in one frame.
fn frame_size(way: &str) -> u64 {
    counter("eth0", &format!("{way}_bytes")) / counter("eth0", &format!("{way}_packets"))
}

/// The guest's half of [`several_queues`].
pub fn guest_several_queues() {
    bring_up("eth0", GUEST);
    echo();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| tcp(HOST))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for _ in 0..8 {
        udp(HOST);
    }
    guest_waits_at(1);
    let queues = std::fs::read_dir("/sys/class/net/eth0/queues").unwrap();
    let names = queues.map(|queue| queue.unwrap().file_name().into_string().unwrap());
    println!("{} queues in use", names.filter(|name| name.starts_with("rx-")).count());
}

/// The guest's half of [`hot_plug`].
pub fn guest_hot_plug() {
    const DRIVER: &str = "/sys/bus/platform/drivers/virtio-mmio";
    const DEVICE: &str = "virtio-mmio.4";
    assert!(std::fs::write(format!("{DRIVER}/bind"), DEVICE).is_err(), "there is nothing to bind");
    echo();
    for _ in 0..2 {
        guest_waits_at(1);
        std::fs::write(format!("{DRIVER}/bind"), DEVICE).unwrap();
        assert_eq!(text("/sys/class/net/eth0/address"), "02:42:0a:09:00:02");
        bring_up("eth0", GUEST);
        tcp(HOST);
        udp(HOST);
        guest_waits_at(2);
        std::fs::write(format!("{DRIVER}/unbind"), DEVICE).unwrap();
        assert!(!Path::new("/sys/class/net/eth0").exists());
        guest_waits_at(3);
    }
    println!("came and went twice");
}

/// The guest's half of [`flood`].
pub fn guest_late() {
    guest_waits_at(1);
    bring_up("eth0", GUEST);
    echo();
    tcp(HOST);
    guest_waits_at(2);
}

/// The guest's half of [`limits`]: a byte when all is there, then the rest.
pub fn guest_limits() {
    bring_up("eth0", GUEST);
    echo();
    guest_waits_at(1);
}
