//! Processes that join a container.

use std::fs;

use moat_protocol::{ExecSpec, ExitStatus, GuestMessage, HostMessage, ProcessId, StartFailure, TerminalSize};
use moat_test_harness::{Test, tests};
use oci_spec::runtime::{Capability, PosixRlimitBuilder, PosixRlimitType};

use crate::host::Streams;
use crate::machine::{Machine, PROCESS, also, capabilities, shell, token_of};

pub const TESTS: &[Test] = tests![
    a_process_is_in_the_container_and_nothing_of_the_agent_is_in_it,
    user_directory_limits_and_capabilities_are_its_own,
    many_processes_run_at_once_with_streams_of_their_own,
    a_terminal_is_one_of_the_containers,
    output_that_nobody_asked_for_goes_nowhere,
    what_cannot_start_says_why,
    there_must_be_a_container_that_runs,
    names_are_given_once,
    the_number_of_processes_is_bounded,
    the_end_of_the_first_process_is_the_end_of_all,
    a_process_sees_what_the_container_mounted_and_a_read_only_root,
];

const OTHER: ProcessId = ProcessId(100);

/// A guest whose container waits.
fn waiting() -> (Machine, Streams) {
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(shell("echo up; sleep 1000")).unwrap();
    streams.wait_for("up");
    (machine, streams)
}

fn a_process_is_in_the_container_and_nothing_of_the_agent_is_in_it() {
    let (mut machine, _streams) = waiting();
    let namespaces = "for n in pid mnt uts ipc net cgroup; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo $n; done";
    let command = format!(
        "{namespaces}; grep ^0 /proc/self/cgroup; hostname; echo $PPID; ls /proc/1/root | head -1; ls /proc/$$/fd"
    );
    // The last descriptor is that of ls itself.
    let expected = "0::/\nbox\n0\nbin\n0\n1\n2\n3\n";
    assert_eq!(machine.run_exec(OTHER, also(&command)).output(), expected);
    machine.shut_down();
}

fn user_directory_limits_and_capabilities_are_its_own() {
    let (mut machine, _streams) = waiting();
    let mut spec = also(
        "id -u; id -g; echo $HOME; pwd; ulimit -n; grep CapPrm /proc/self/status; grep NoNew /proc/self/status; cat /proc/self/oom_score_adj",
    );
    spec.user = "app:video".to_owned();
    spec.process.set_cwd("/tmp".into());
    let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(77u64).hard(99u64);
    spec.process.set_rlimits(Some(vec![limit.build().unwrap()]));
    let mut sets = capabilities();
    let kept = Some([Capability::NetBindService].into());
    sets.set_inheritable(kept.clone()).set_ambient(kept);
    spec.process.set_capabilities(Some(sets));
    spec.process.set_no_new_privileges(Some(true));
    spec.process.set_oom_score_adj(Some(55));
    let expected = "1000\n44\n/home/app\n/tmp\n77\nCapPrm:\t0000000000000400\nNoNewPrivs:\t1\n55\n";
    assert_eq!(machine.run_exec(OTHER, spec).output(), expected);
    machine.shut_down();
}

fn many_processes_run_at_once_with_streams_of_their_own() {
    let (mut machine, _first) = waiting();
    let mut all: Vec<_> = (0..20)
        .map(|n| {
            let spec = ExecSpec { open_stdin: true, ..also(&format!("read line; echo {n} $line; exit {n}")) };
            machine.exec(ProcessId(200 + n), spec).unwrap()
        })
        .collect();
    for (n, streams) in all.iter_mut().enumerate().rev() {
        streams.type_in(&format!("hello {n}\n"));
        assert_eq!(streams.read_all().0, format!("{n} hello {n}\n"));
        assert_eq!(machine.exit_of(streams.process), ExitStatus::Code(n as u8));
    }
    machine.shut_down();
}

fn a_terminal_is_one_of_the_containers() {
    let (mut machine, _first) = waiting();
    let terminal = |command: &str| {
        let mut spec = ExecSpec { open_stdin: true, ..also(command) };
        spec.process.set_terminal(Some(true));
        spec
    };
    let command = "trap 'stty size' WINCH; trap 'exit 5' QUIT; tty; echo ready; while :; do sleep 0.05; done";
    let mut streams = machine.exec(OTHER, terminal(command)).unwrap();
    assert!(streams.wait_for("ready").contains("/dev/pts/0"));
    machine.send(&HostMessage::Resize { process: OTHER, size: TerminalSize { rows: 12, columns: 34 } });
    streams.wait_for("12 34");
    streams.type_in("\x1c");
    assert_eq!(machine.exit_of(OTHER), ExitStatus::Code(5));
    // The first one keeps its name while its output is on its way.
    let unseen_process = ProcessId(101);
    // A terminal whose output is not wanted does not hold its process up.
    let unseen =
        ExecSpec { open_output: false, open_stdin: false, ..terminal("seq 1 100000; tty >/tmp/seen") };
    machine.exec(unseen_process, unseen).unwrap();
    assert_eq!(machine.exit_of(unseen_process), ExitStatus::Code(0));
    assert!(fs::read_to_string(machine.upper().join("tmp/seen")).unwrap().starts_with("/dev/pts/"));
    machine.shut_down();
}

fn output_that_nobody_asked_for_goes_nowhere() {
    let (mut machine, _first) = waiting();
    let spec = ExecSpec { open_output: false, ..also("readlink /proc/self/fd/1 >/tmp/where; seq 1 100000") };
    machine.exec(OTHER, spec).unwrap();
    assert_eq!(machine.exit_of(OTHER), ExitStatus::Code(0));
    machine.shut_down();
}

fn what_cannot_start_says_why() {
    let (mut machine, _first) = waiting();
    let mut missing = also("true");
    missing.process.set_cwd("/nope".into());
    let mut link = also("true");
    link.process.set_cwd("/proc/self/fd/3".into());
    let user = ExecSpec { user: "foo".to_owned(), ..also("true") };
    let mut command = also("");
    command.process.set_args(Some(vec!["nope".to_owned()]));
    let mut directory = also("");
    directory.process.set_args(Some(vec!["/etc".to_owned()]));
    use StartFailure::{NotExecutable, NotFound, Setup};
    for (spec, kind, message) in [
        (missing, Setup, "cannot use \"/nope\" as working directory: no such file or directory"),
        (link, Setup, "cannot use \"/proc/self/fd/3\" as working directory: "),
        (user, Setup, "unable to find user foo: no matching entries in passwd file"),
        (command, NotFound, "exec: \"nope\": executable file not found in $PATH"),
        (directory, NotExecutable, "exec: \"/etc\": is a directory"),
    ] {
        let (failure, text) = machine.exec(OTHER, spec).unwrap_err();
        assert_eq!(failure, kind, "{text}");
        assert!(text.starts_with(message), "{text}");
    }
    // The name is free again, and the container none the worse.
    assert_eq!(machine.run_exec(OTHER, also("echo fine")).output(), "fine\n");
    machine.shut_down();
}

fn refusal(machine: &mut Machine, process: ProcessId) -> String {
    let spec = Box::new(also("true"));
    machine.send(&HostMessage::Exec { process, token: token_of(process), spec });
    match machine.receive() {
        GuestMessage::StartFailed { process: failed, failure: StartFailure::Setup, message } => {
            assert_eq!(failed, process);
            message
        }
        other => panic!("{other:?}"),
    }
}

fn there_must_be_a_container_that_runs() {
    let mut machine = Machine::boot(|_| {});
    assert_eq!(refusal(&mut machine, OTHER), "the container is not running");
    let streams = machine.start(shell("true")).unwrap();
    assert_eq!(machine.exit(), ExitStatus::Code(0));
    // Also while its output has not been read.
    assert_eq!(refusal(&mut machine, OTHER), "the container is not running");
    drop(streams);
    machine.shut_down();
}

fn names_are_given_once() {
    let (mut machine, _first) = waiting();
    assert!(refusal(&mut machine, PROCESS).contains("already"));
    let _second = machine.exec(OTHER, also("sleep 1000")).unwrap();
    assert!(refusal(&mut machine, OTHER).contains("already"));
    machine.shut_down();
}

fn the_number_of_processes_is_bounded() {
    let (mut machine, _first) = waiting();
    for n in 1..128 {
        let quiet = ExecSpec { open_output: false, ..also("sleep 1000") };
        machine.exec(ProcessId(1000 + n), quiet).unwrap();
    }
    assert!(refusal(&mut machine, OTHER).starts_with("128 processes have been started"));
    machine.send(&HostMessage::Signal { process: ProcessId(1001), signal: 9 });
    assert_eq!(machine.exit_of(ProcessId(1001)), ExitStatus::Signal(9));
    assert_eq!(machine.run_exec(OTHER, also("echo fine")).output(), "fine\n");
    machine.shut_down();
}

fn the_end_of_the_first_process_is_the_end_of_all() {
    let (mut machine, _first) = waiting();
    let mut streams =
        machine.exec(OTHER, also("trap '' TERM HUP; echo up; while :; do sleep 1; done")).unwrap();
    streams.wait_for("up");
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 9 });
    assert_eq!(machine.exit_of(OTHER), ExitStatus::Signal(9));
    assert_eq!(machine.exit(), ExitStatus::Signal(9));
    assert_eq!(streams.next(), None);
    machine.shut_down();
}

fn a_process_sees_what_the_container_mounted_and_a_read_only_root() {
    let mut machine = Machine::boot(|_| {});
    let mut spec = shell("echo shared >/dev/shm/x; echo up; sleep 1000");
    spec.read_only_root = true;
    machine.start(spec).unwrap().wait_for("up");
    let outcome = machine.run_exec(OTHER, also("cat /dev/shm/x; touch /y"));
    assert_eq!(outcome.stdout, "shared\n");
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome:?}");
    machine.shut_down();
}
