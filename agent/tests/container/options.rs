//! What can be asked for beside the defaults: kernel parameters, limits, an init, every device, writable mounts.

use std::fs;

use moat_protocol::{ContainerSpec, ExitStatus, HostMessage, ProcessId, StartFailure, defaults};
use moat_test_harness::{Test, tests};
use oci_spec::runtime::{BoxBuilder, LinuxCapabilitiesBuilder, PosixRlimitBuilder, PosixRlimitType};

use crate::machine::{Machine, PROCESS, also, shell, tmpfs};

pub const TESTS: &[Test] = tests![
    kernel_parameters_are_set_in_the_container,
    kernel_parameters_that_cannot_be_set_are_told,
    an_init_ends_as_the_command_does,
    an_init_passes_signals_on_and_reaps,
    the_terminal_is_the_commands_under_an_init,
    a_command_that_closes_its_output_is_heard_under_an_init,
    every_device_of_the_guest_can_be_had,
    system_mounts_can_be_writable,
    every_resource_limit_can_be_set,
    the_number_of_processes_can_be_limited,
    a_limit_without_a_container_is_none,
    every_capability_can_be_had,
];

fn with_sysctl(name: &str, value: &str, command: &str) -> ContainerSpec {
    let mut spec = shell(command);
    spec.sysctls.insert(name.to_owned(), value.to_owned());
    spec
}

fn kernel_parameters_are_set_in_the_container() {
    let here = fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    let mut spec =
        with_sysctl("kernel.msgmax", "4321", "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward");
    spec.sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    // As the agent sets them itself, and the container over it.
    assert_eq!(Machine::boot(|_| {}).run(spec).output(), "4321\n1\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), here);
}

fn kernel_parameters_that_cannot_be_set_are_told() {
    for (name, value, message) in [
        (
            "net.ipv4.nonsense",
            "1",
            "cannot set the kernel parameter net.ipv4.nonsense to \"1\": no such file or directory",
        ),
        ("kernel.msgmax", "x", "cannot set the kernel parameter kernel.msgmax to \"x\": invalid argument"),
        ("../../etc/passwd", "1", "\"../../etc/passwd\" is not the name of a kernel parameter"),
        ("net..x", "1", "\"net..x\" is not the name of a kernel parameter"),
        ("Kernel.x", "1", "\"Kernel.x\" is not the name of a kernel parameter"),
    ] {
        let failure = Machine::boot(|_| {}).start(with_sysctl(name, value, "true")).unwrap_err();
        assert_eq!(failure, (StartFailure::Setup, message.to_owned()));
    }
}

fn with_init(command: &str) -> ContainerSpec {
    ContainerSpec { init: true, ..shell(command) }
}

fn an_init_ends_as_the_command_does() {
    for (command, code) in [("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("true", 0)] {
        assert_eq!(Machine::boot(|_| {}).run(with_init(command)).status, ExitStatus::Code(code), "{command}");
    }
    let mut missing = with_init("");
    missing.process.set_args(Some(vec!["nope".to_owned()]));
    assert_eq!(Machine::boot(|_| {}).start(missing).unwrap_err().0, StartFailure::NotFound);
}

fn an_init_passes_signals_on_and_reaps() {
    let mut machine = Machine::boot(|_| {});
    let command = "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo $$ $(cat /proc/1/comm); (true & exec sleep 0.3) & \
        echo ready; while :; do sleep 0.05; done";
    let mut streams = machine.start(with_init(command)).unwrap();
    let seen = streams.wait_for("ready");
    assert!(seen.starts_with("2 init\n"), "{seen}");
    for signal in [10, 34, 28] {
        machine.send(&HostMessage::Signal { process: PROCESS, signal });
    }
    // A real-time signal has no handler and ends it: 34 is among those above.
    assert_eq!(machine.exit(), ExitStatus::Code(128 + 34));

    let mut machine = Machine::boot(|_| {});
    let command =
        "trap 'echo usr1' USR1; trap 'exit 9' TERM; (sleep 0.2 &) ; echo ready; while :; do sleep 0.05; done";
    let mut streams = machine.start(with_init(command)).unwrap();
    streams.wait_for("ready");
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 10 });
    streams.wait_for("usr1");
    std::thread::sleep(std::time::Duration::from_millis(400));
    // The shell may be about to wait for a child of its own; the orphans are the init's.
    let ended = machine.run_exec(
        ProcessId(60),
        also("ps -o stat,ppid | awk '/^Z/ && $2 == 1' | wc -l; ls /proc/1/fd | wc -l"),
    );
    assert_eq!(ended.output(), "0\n0\n");
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 15 });
    assert_eq!(machine.exit(), ExitStatus::Code(9));
    // What cannot be handled ends all.
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(with_init("echo ready; sleep 1000")).unwrap();
    streams.wait_for("ready");
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 9 });
    assert_eq!(machine.exit(), ExitStatus::Signal(9));
}

fn the_terminal_is_the_commands_under_an_init() {
    let mut machine = Machine::boot(|_| {});
    let command = "trap 'exit 3' HUP; trap 'echo interrupted' INT; echo hi >/dev/tty; echo ready; while :; do sleep 0.05; done";
    let mut spec = ContainerSpec { open_stdin: true, user: "app".to_owned(), ..with_init(command) };
    spec.process.set_terminal(Some(true));
    spec.process.set_console_size(Some(BoxBuilder::default().height(3u64).width(10u64).build().unwrap()));
    let mut streams = machine.start(spec).unwrap();
    streams.wait_for("ready");
    streams.type_in("\x03");
    let seen = streams.wait_for("interrupted");
    assert_eq!(seen.matches("interrupted").count(), 1);
    drop(streams);
    assert_eq!(machine.exit(), ExitStatus::Code(3));
}

fn a_command_that_closes_its_output_is_heard_under_an_init() {
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(with_init("echo out; exec >&- 2>&-; sleep 1000")).unwrap();
    assert_eq!(streams.read_all().0, "out\n");
    machine.shut_down();
}

fn every_device_of_the_guest_can_be_had() {
    let spec = ContainerSpec {
        all_devices: true,
        ..shell("ls /dev; stat -c '%a %t:%T' /dev/null /dev/kmsg; echo x >/dev/null")
    };
    let output = Machine::boot(|_| {}).run(spec).output();
    for name in ["kmsg", "null", "ptmx", "shm"] {
        assert!(output.lines().any(|line| line == name), "{name} is not in {output}");
    }
    assert!(output.contains("666 1:3\n"), "{output}");
    // What is mounted below the guest's own is the container's here.
    let spec =
        ContainerSpec { all_devices: true, ..shell("ls /dev/shm /dev/mqueue | wc -l; readlink /dev/ptmx") };
    assert!(Machine::boot(|_| {}).run(spec).output().ends_with("pts/ptmx\n"));
}

fn system_mounts_can_be_writable() {
    let mut spec = shell(
        "mkdir /sys/fs/cgroup/sub && echo made; rmdir /sys/fs/cgroup/sub; grep -E ' /sys(/fs/cgroup)? ' /proc/mounts",
    );
    for mount in &mut spec.mounts {
        if mount.destination().starts_with("/sys") {
            let options = mount.options().clone().unwrap();
            mount.set_options(Some(options.into_iter().chain(["rw".to_owned()]).collect()));
        }
    }
    spec.masked_paths.clear();
    spec.read_only_paths.clear();
    let output = Machine::boot(|_| {}).run(spec).output();
    assert!(output.starts_with("made\n"), "{output}");
    assert_eq!(output.matches(" rw,").count(), 2, "{output}");
}

/// Every limit that `--ulimit` knows, at or below what every machine starts with: raising them needs a privilege.
fn every_resource_limit_can_be_set() {
    use PosixRlimitType::*;
    let kinds = [
        (RlimitCore, "core file size", 0),
        (RlimitCpu, "cpu time", 703),
        (RlimitData, "data size", 70_000_003),
        (RlimitFsize, "file size", 700_003),
        (RlimitLocks, "file locks", 703),
        (RlimitMemlock, "locked memory", 4003),
        (RlimitMsgqueue, "msgqueue size", 700_003),
        (RlimitNice, "nice priority", 0),
        (RlimitNofile, "open files", 703),
        (RlimitNproc, "processes", 703),
        (RlimitRss, "resident set", 70_000_003),
        (RlimitRtprio, "realtime priority", 0),
        (RlimitRttime, "realtime timeout", 700_003),
        (RlimitSigpending, "pending signals", 703),
        (RlimitStack, "stack size", 7_000_003),
    ];
    let mut spec = shell("cat /proc/self/limits");
    let limit = |(kind, _, hard): (_, _, u64)| {
        PosixRlimitBuilder::default().typ(kind).soft(hard / 2).hard(hard).build().unwrap()
    };
    spec.process.set_rlimits(Some(kinds.map(limit).to_vec()));
    let output = Machine::boot(|_| {}).run(spec).output();
    for (_, name, hard) in kinds {
        let line = output.lines().find(|line| line.starts_with(&format!("Max {name} "))).unwrap();
        let values = line.trim_start_matches(&format!("Max {name} ")).split_whitespace();
        let expected = [(hard / 2).to_string(), hard.to_string()];
        assert!(values.take(2).eq(expected), "{line}");
    }
}

/// Whether this machine has the controller in its unified hierarchy, as every guest does.
fn has_pids_controller(machine: &Machine) -> bool {
    let controllers = machine.cgroup().with_file_name("cgroup.subtree_control");
    fs::read_to_string(controllers).is_ok_and(|names| names.split_whitespace().any(|name| name == "pids"))
}

fn the_number_of_processes_can_be_limited() {
    let mut machine = Machine::boot(|_| {});
    let command = "echo up; read x; n=0; while [ $n -lt 30 ]; do sleep 9 & n=$((n+1)); done; echo made";
    let spec = ContainerSpec { pids_limit: Some(10), open_stdin: true, ..shell(command) };
    if !has_pids_controller(&machine) {
        // What is asked for and cannot be had is an error, and leaves nothing behind.
        let token = crate::machine::token_of(PROCESS);
        machine.send(&HostMessage::Start { process: PROCESS, token, spec: Box::new(spec) });
        let answer = format!("{:?}", machine.receive());
        assert!(
            answer.contains("Setup") && answer.contains("cannot limit the number of processes: "),
            "{answer}"
        );
        assert!(!machine.cgroup().exists());
        return machine.shut_down();
    }
    let mut streams = machine.start(spec).unwrap();
    streams.wait_for("up");
    assert_eq!(fs::read_to_string(machine.cgroup().join("pids.max")).unwrap(), "10\n");
    machine.send(&HostMessage::LimitProcesses { limit: Some(5) });
    streams.type_in("\n");
    assert!(streams.read_all().1.contains("can't fork"));
    machine.shut_down();
}

fn a_limit_without_a_container_is_none() {
    let mut machine = Machine::boot(|_| {});
    machine.send(&HostMessage::LimitProcesses { limit: Some(5) });
    let mut spec = shell("echo fine");
    spec.mounts.push(tmpfs("/x", &[]));
    assert_eq!(machine.run(spec).output(), "fine\n");
}

/// A privileged container's root may do everything that this machine's kernel lets its own do.
fn every_capability_can_be_had() {
    let here = fs::read_to_string("/proc/self/status").unwrap();
    let set = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        u64::from_str_radix(&line, 16).unwrap()
    };
    let all = (0..=40).fold(0u64, |bits, number| bits | 1 << number);
    if set(&here, "CapPrm:") & all != all {
        eprintln!("not run: the caller of the tests does not have them all");
        return;
    }
    let mut spec = shell("cat /proc/self/status");
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(defaults::all_capabilities())
        .effective(defaults::all_capabilities())
        .permitted(defaults::all_capabilities())
        .inheritable([])
        .ambient([])
        .build();
    spec.process.set_capabilities(Some(sets.unwrap()));
    assert_eq!(set(&Machine::boot(|_| {}).run(spec).output(), "CapEff:"), all);
}
