//! The wire format is frozen: one example of every message, byte for byte, as `schema-v<VERSION>.txt` holds them.
//!
//! When this fails, a message has changed. Raise `moat_protocol::VERSION` and run the test once with
//! `MOAT_NEW_SCHEMA=1`: it writes the new version's file and never touches one that exists.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use moat_protocol::frame::{self, HEADER_SIZE, Message};
use moat_protocol::{
    ArchiveFailure, ArchiveTask, BootPhase, ContainerSpec, Dns, ExecSpec, ExitStatus, GuestMessage,
    HostMessage, HostsEntry, Interface, InterfaceAddress, MacAddress, NetworkSpec, PathStat, ProcessId,
    ProcessInfo, RESOLVER, RequestId, StartFailure, Stats, Stream, StreamHello, StreamToken, TerminalSize,
    VERSION, defaults, guest,
};
use oci_spec::runtime::{
    BoxBuilder, Capability, LinuxCapabilitiesBuilder, MountBuilder, PosixRlimitBuilder, PosixRlimitType,
    Process, ProcessBuilder, UserBuilder,
};
use serde::Serialize;

const PROCESS: ProcessId = ProcessId(7);
const REQUEST: RequestId = RequestId(8);

fn token() -> StreamToken {
    StreamToken("00ff".to_owned())
}

fn process() -> Process {
    // One capability per set: the sets have no order on the wire.
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding([Capability::Chown])
        .effective([Capability::Kill])
        .inheritable([])
        .permitted([Capability::Setuid])
        .ambient([Capability::NetRaw])
        .build()
        .unwrap();
    let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).hard(20u64).soft(10u64);
    ProcessBuilder::default()
        .terminal(true)
        .console_size(BoxBuilder::default().height(24u64).width(80u64).build().unwrap())
        .user(UserBuilder::default().build().unwrap())
        .args(["sh".to_owned(), "-c".to_owned()])
        .env(["PATH=/bin".to_owned()])
        .cwd("/work")
        .capabilities(capabilities)
        .rlimits([limit.build().unwrap()])
        .no_new_privileges(true)
        .oom_score_adj(-5)
        .build()
        .unwrap()
}

fn dns() -> Dns {
    Dns {
        servers: vec![RESOLVER.into()],
        search: vec!["example.org".to_owned()],
        options: vec!["ndots:0".to_owned()],
    }
}

fn interface() -> Interface {
    let address = |text: &str, prefix| InterfaceAddress { address: text.parse().unwrap(), prefix };
    Interface {
        mac: MacAddress([2, 0x42, 172, 17, 0, 2]),
        name: "eth0".to_owned(),
        mtu: 1500,
        addresses: vec![address("172.17.0.2", 16), address("fd00::2", 64)],
        gateway_v4: Some([172, 17, 0, 1].into()),
        gateway_v6: None,
    }
}

fn spec() -> ContainerSpec {
    let options = ["nosuid".to_owned(), "size=64k".to_owned()];
    let mount = MountBuilder::default().destination("/tmp").typ("tmpfs").source("tmpfs").options(options);
    ContainerSpec {
        hostname: "box".to_owned(),
        user: "app:1000".to_owned(),
        groups: Vec::new(),
        process: process(),
        mounts: vec![mount.build().unwrap()],
        read_only_root: true,
        masked_paths: vec!["/proc/kcore".to_owned()],
        read_only_paths: vec!["/proc/sys".to_owned()],
        hosts: vec![HostsEntry { address: "::1".to_owned(), names: vec!["localhost".to_owned()] }],
        network: NetworkSpec { interfaces: vec![interface()], dns: dns() },
        open_stdin: true,
        sysctls: [("kernel.msgmax".to_owned(), "65536".to_owned())].into(),
        pids_limit: Some(100),
        init: true,
        all_devices: true,
    }
}

fn exec() -> ExecSpec {
    ExecSpec {
        user: "1".to_owned(),
        groups: Vec::new(),
        process: process(),
        open_stdin: true,
        open_output: true,
    }
}

fn archive_tasks() -> Vec<ArchiveTask> {
    let path = || "/etc".to_owned();
    vec![
        ArchiveTask::Stat { path: path(), follow: true },
        ArchiveTask::Read { path: path(), follow: false },
        ArchiveTask::Write { path: path(), keep_owner: true, keep_kind: false },
        ArchiveTask::Changes,
        ArchiveTask::Layer { freeze: true },
    ]
}

fn host_messages() -> Vec<HostMessage> {
    vec![
        HostMessage::Start { process: PROCESS, token: token(), spec: Box::new(spec()) },
        HostMessage::Signal { process: PROCESS, signal: 15 },
        HostMessage::Resize { process: PROCESS, size: TerminalSize { rows: 24, columns: 80 } },
        HostMessage::Shutdown,
        HostMessage::Exec { process: PROCESS, token: token(), spec: Box::new(exec()) },
        HostMessage::Stats { request: REQUEST },
        HostMessage::Processes { request: REQUEST },
        HostMessage::LimitProcesses { limit: Some(5) },
        HostMessage::LimitProcesses { limit: None },
        HostMessage::ConnectNetwork {
            request: REQUEST,
            device: "virtio-mmio.6".to_owned(),
            interface: interface(),
            hosts: vec![HostsEntry { address: "172.17.0.2".to_owned(), names: vec!["box".to_owned()] }],
            dns: dns(),
        },
        HostMessage::DisconnectNetwork {
            request: REQUEST,
            device: "virtio-mmio.6".to_owned(),
            mac: MacAddress([2, 0x42, 172, 17, 0, 2]),
        },
    ]
    .into_iter()
    .chain(archive_tasks().into_iter().map(|task| HostMessage::Archive {
        request: REQUEST,
        token: token(),
        task,
    }))
    .collect()
}

fn stats() -> Stats {
    Stats {
        cpu_usec: 1,
        cpu_user_usec: 2,
        cpu_system_usec: 3,
        cpus: 4,
        memory: 5,
        memory_limit: 6,
        pids: 7,
        block_read: 8,
        block_written: 9,
        net_received: 10,
        net_sent: 11,
    }
}

fn process_info() -> ProcessInfo {
    ProcessInfo {
        pid: 1,
        ppid: 2,
        uid: 3,
        gid: 4,
        state: 'S',
        tty: "pts/0".to_owned(),
        nice: -5,
        threads: 6,
        cpu_msec: 7,
        started: 8,
        rss_kib: 9,
        vsz_kib: 10,
        name: "sh".to_owned(),
        command: "sh -c".to_owned(),
    }
}

fn guest_messages() -> Vec<GuestMessage> {
    let exited = |status| GuestMessage::Exited { process: PROCESS, status, oom_killed: true };
    let start_failed =
        |failure| GuestMessage::StartFailed { process: PROCESS, failure, message: "m".to_owned() };
    let boot_failed = |phase| GuestMessage::BootFailed { phase, message: "m".to_owned() };
    let archive_failed =
        |failure| GuestMessage::ArchiveFailed { request: REQUEST, failure, message: "m".to_owned() };
    let stat = PathStat {
        name: "etc".to_owned(),
        mode: 0o40755,
        size: 1,
        mtime: -2,
        link_target: "/usr/etc".to_owned(),
    };
    vec![
        GuestMessage::Hello,
        boot_failed(BootPhase::Mounts),
        boot_failed(BootPhase::Disks),
        boot_failed(BootPhase::Overlay),
        boot_failed(BootPhase::Dial),
        GuestMessage::Started { process: PROCESS },
        start_failed(StartFailure::NotFound),
        start_failed(StartFailure::NotExecutable),
        start_failed(StartFailure::Setup),
        exited(ExitStatus::Code(3)),
        exited(ExitStatus::Signal(9)),
        GuestMessage::ArchiveDone { request: REQUEST, stat: None },
        GuestMessage::ArchiveDone { request: REQUEST, stat: Some(stat) },
        archive_failed(ArchiveFailure::NotFound),
        archive_failed(ArchiveFailure::WrongKind),
        archive_failed(ArchiveFailure::BadArchive),
        archive_failed(ArchiveFailure::Io),
        GuestMessage::Stats { request: REQUEST, stats: stats() },
        GuestMessage::Processes { request: REQUEST, processes: vec![process_info()] },
        GuestMessage::NetworkChanged { request: REQUEST },
        GuestMessage::NetworkFailed { request: REQUEST, message: "m".to_owned() },
    ]
}

fn hellos() -> Vec<StreamHello> {
    [Stream::Stdin, Stream::Output, Stream::Archive, Stream::Names]
        .map(|stream| StreamHello { stream, token: token() })
        .to_vec()
}

/// A line per frame: the header in hexadecimal, then the payload as it is.
fn lines<T: Message + Serialize>(messages: &[T]) -> String {
    messages.iter().fold(String::new(), |mut text, message| {
        let frame = frame::encode(message).unwrap();
        let (header, payload) = frame.split_at(HEADER_SIZE);
        header.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        writeln!(text, " {}", std::str::from_utf8(payload).unwrap()).unwrap();
        text
    })
}

#[test]
fn the_wire_format_is_that_of_this_version() {
    let now = format!(
        "ports {} {}\n{}{}{}",
        moat_protocol::CONTROL_PORT,
        moat_protocol::STREAM_PORT,
        lines(&host_messages()),
        lines(&guest_messages()),
        lines(&hellos()),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/schema-v{VERSION}.txt"));
    if std::env::var_os("MOAT_NEW_SCHEMA").is_some() && !path.exists() {
        std::fs::write(&path, &now).unwrap();
    }
    let frozen = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; see this test's documentation", path.display()));
    assert!(now == frozen, "a message has changed but VERSION has not; now:\n{now}\nfrozen:\n{frozen}");
}

#[test]
fn every_message_survives_the_wire() {
    for message in guest_messages() {
        let bytes = frame::encode(&message).unwrap();
        assert_eq!(frame::read::<GuestMessage>(&mut bytes.as_slice()).unwrap(), message);
    }
    for hello in hellos() {
        let bytes = frame::encode(&hello).unwrap();
        assert_eq!(frame::read::<StreamHello>(&mut bytes.as_slice()).unwrap(), hello);
    }
}

/// The guest's own types read what the host's types write, field by field.
#[test]
fn the_guest_reads_what_the_host_writes() {
    let mut read = host_messages().into_iter().map(|message| {
        let bytes = frame::encode(&message).unwrap();
        frame::read::<guest::HostMessage>(&mut bytes.as_slice()).unwrap()
    });
    let Some(guest::HostMessage::Start { spec, .. }) = read.next() else { panic!("not a start") };
    assert_eq!((spec.hostname.as_str(), spec.user.as_str()), ("box", "app:1000"));
    assert!(spec.read_only_root && spec.open_stdin);
    assert_eq!(spec.network.interfaces, [interface()]);
    assert!(spec.network.dns.is_resolved_by_host());
    let process = spec.process;
    assert!(process.terminal && process.no_new_privileges);
    assert_eq!(process.console_size.map(|size| (size.height, size.width)), Some((24, 80)));
    assert_eq!(
        (process.args, process.env),
        (vec!["sh".to_owned(), "-c".to_owned()], vec!["PATH=/bin".to_owned()])
    );
    assert_eq!((process.cwd.as_str(), process.oom_score_adj), ("/work", Some(-5)));
    assert_eq!(process.capabilities.bounding, ["CAP_CHOWN"]);
    assert_eq!(process.capabilities.effective, ["CAP_KILL"]);
    assert!(process.capabilities.inheritable.is_empty());
    assert_eq!(process.capabilities.permitted, ["CAP_SETUID"]);
    assert_eq!(process.capabilities.ambient, ["CAP_NET_RAW"]);
    let [limit] = process.rlimits.as_slice() else { panic!("{:?}", process.rlimits) };
    assert_eq!((limit.kind.as_str(), limit.hard, limit.soft), ("RLIMIT_NOFILE", 20, 10));
    let [mount] = spec.mounts.as_slice() else { panic!("{:?}", spec.mounts) };
    assert_eq!((mount.destination.as_str(), mount.kind.as_str()), ("/tmp", "tmpfs"));
    assert_eq!(mount.options, ["nosuid", "size=64k"]);
    assert!(matches!(read.next(), Some(guest::HostMessage::Signal { process: PROCESS, signal: 15 })));
    assert!(matches!(
        read.next(),
        Some(guest::HostMessage::Resize { size: TerminalSize { rows: 24, .. }, .. })
    ));
    assert!(matches!(read.next(), Some(guest::HostMessage::Shutdown)));
}

#[test]
fn the_guest_reads_the_defaults() {
    let mut message = spec();
    message.mounts = defaults::mounts(1 << 20);
    let capabilities =
        LinuxCapabilitiesBuilder::default().bounding(defaults::capabilities()).build().unwrap();
    message.process.set_capabilities(Some(capabilities));
    let json = serde_json::to_vec(&message).unwrap();
    let read: guest::ContainerSpec = frame::decode(&json).unwrap();
    assert_eq!(read.mounts.len(), message.mounts.len());
    assert_eq!(read.process.capabilities.bounding.iter().collect::<HashSet<_>>().len(), 14);
}

/// A security setting that the agent does not implement must not be dropped silently.
#[test]
fn the_guest_refuses_what_it_would_ignore() {
    let mut message = spec();
    message.process.set_apparmor_profile(Some("strict".to_owned()));
    let json = serde_json::to_vec(&message).unwrap();
    let error = frame::decode::<guest::ContainerSpec>(&json).unwrap_err();
    assert!(error.to_string().contains("apparmorProfile"), "{error}");
}

#[test]
fn unknown_fields_and_messages_are_refused() {
    for json in [
        r#"{"shutdown":{"now":true}}"#,
        r#"{"shutdown":null,"hello":null}"#,
        r#"{"signal":{"process":1,"signal":9,"also":1}}"#,
        r#""explode""#,
        r#"{"explode":{}}"#,
        r#"{}"#,
        r#"null"#,
        r#"{"signal":{"process":1}}"#,
        r#"{"signal":{"process":-1,"signal":9}}"#,
        r#"{"resize":{"process":1,"size":{"rows":65536,"columns":1}}}"#,
        r#"{"resize":{"process":1,"size":{"rows":1,"columns":1,"depth":1}}}"#,
        r#""shutdown" "shutdown""#,
    ] {
        assert!(frame::decode::<guest::HostMessage>(json.as_bytes()).is_err(), "{json}");
        assert!(frame::decode::<HostMessage>(json.as_bytes()).is_err(), "{json}");
    }
}
