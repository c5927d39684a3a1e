//! What a container uses, and its processes.

use moat_protocol::{
    ExecSpec, ExitStatus, GuestMessage, HostMessage, ProcessId, ProcessInfo, RequestId, Stats,
};
use moat_test_harness::{Test, tests};

use crate::machine::{Machine, REQUEST, also, shell};

pub const TESTS: &[Test] = tests![
    numbers_grow_with_what_is_done,
    processes_are_told_as_the_container_sees_them,
    hostile_names_are_only_names,
    the_list_is_bounded,
    many_questions_at_once_are_all_answered,
];

fn stats(machine: &mut Machine) -> Stats {
    machine.send(&HostMessage::Stats { request: REQUEST });
    match machine.receive() {
        GuestMessage::Stats { request: REQUEST, stats } => stats,
        other => panic!("{other:?}"),
    }
}

fn processes(machine: &mut Machine) -> Vec<ProcessInfo> {
    machine.send(&HostMessage::Processes { request: REQUEST });
    match machine.receive() {
        GuestMessage::Processes { request: REQUEST, processes } => processes,
        other => panic!("{other:?}"),
    }
}

fn numbers_grow_with_what_is_done() {
    let mut machine = Machine::boot(|_| {});
    let before = stats(&mut machine);
    assert_eq!((before.cpu_usec, before.pids), (0, 0));
    assert!(before.cpus > 0 && before.memory_limit > 1 << 20, "{before:?}");
    let command = "n=0; while [ $n -lt 50000 ]; do n=$((n+1)); done; echo up; sleep 1000";
    machine.start(shell(command)).unwrap().wait_for("up");
    let after = stats(&mut machine);
    assert!(after.cpu_usec > 1000 && after.cpu_usec >= after.cpu_user_usec, "{after:?}");
    machine.shut_down();
}

fn processes_are_told_as_the_container_sees_them() {
    let mut machine = Machine::boot(|_| {});
    assert_eq!(processes(&mut machine), []);
    let mut streams = machine.start(shell("sleep 1000 & echo up; wait")).unwrap();
    streams.wait_for("up");
    let mut other = ExecSpec { user: "app".to_owned(), open_stdin: true, ..also("tty; echo ready; cat") };
    other.process.set_terminal(Some(true));
    let mut terminal = machine.exec(ProcessId(50), other).unwrap();
    terminal.wait_for("ready");
    let listed = processes(&mut machine);
    let seen = machine.run_exec(ProcessId(51), also("ps -o pid,ppid,comm,args | sed 1d")).output();
    for info in &listed {
        let line = format!("{:>5} {:>5}", info.pid, info.ppid);
        assert!(seen.lines().any(|seen| seen.starts_with(&line)), "{info:?} is not in\n{seen}");
    }
    let find = |command: &str| {
        listed.iter().find(|info| info.command == command).unwrap_or_else(|| panic!("{command}: {listed:?}"))
    };
    let first = find("sh -c sleep 1000 & echo up; wait");
    assert_eq!((first.pid, first.ppid, first.uid, first.tty.as_str(), first.threads), (1, 0, 0, "?", 1));
    assert_eq!((first.name.as_str(), first.state, first.nice), ("sh", 'S', 0));
    assert!(first.rss_kib > 0 && first.vsz_kib > first.rss_kib && first.started > 1_600_000_000);
    let child = find("sleep 1000");
    assert_eq!(child.ppid, 1);
    // Whose parent is outside has none. The shell of the terminal may have become cat.
    let joined = listed.iter().find(|info| info.tty == "pts/0").unwrap();
    assert_eq!((joined.ppid, joined.uid, joined.gid), (0, 1000, 1001));
    machine.shut_down();
}

fn hostile_names_are_only_names() {
    let mut machine = Machine::boot(|root| {
        for name in [") R 1", "a\nPid:\t9", "\x1b[31m"] {
            std::fs::copy(root.join("bin/busybox"), root.join("bin").join(name)).unwrap();
        }
    });
    // busybox goes by its first word, but the kernel by the file's name.
    let mut spec = shell("");
    let command = "(exec -a sleep '/bin/) R 1' 1000) & (exec -a sleep '/bin/a\nPid:\t9' 1000) & (exec -a sleep '/bin/\x1b[31m' 1000) & echo up; wait";
    spec.process.set_args(Some(vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()]));
    machine.start(spec).unwrap().wait_for("up");
    let names = |machine: &mut Machine| -> Vec<String> {
        processes(machine).into_iter().filter(|info| info.pid != 1).map(|info| info.name).collect()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while names(&mut machine) != [") R 1", "a\u{fffd}Pid:\u{fffd}9", "\u{fffd}[31m"] {
        assert!(std::time::Instant::now() < deadline, "{:?}", names(&mut machine));
    }
    assert!(processes(&mut machine).iter().all(|info| "SR".contains(info.state)));
    machine.shut_down();
}

fn the_list_is_bounded() {
    let mut machine = Machine::boot(|_| {});
    let long = "x\"".repeat(3000);
    let command = format!(
        "n=0; while [ $n -lt 600 ]; do sh -c 'sleep 1000; :' '{long}' & n=$((n+1)); done; echo up; wait"
    );
    machine.start(shell(&command)).unwrap().wait_for("up");
    let listed = processes(&mut machine);
    assert_eq!(listed.len(), moat_protocol::MAX_PROCESSES);
    assert!(listed.iter().all(|info| info.command.len() <= moat_protocol::MAX_COMMAND));
    assert!(listed.iter().any(|info| info.command == "[sh]"));
    machine.shut_down();
}

fn many_questions_at_once_are_all_answered() {
    let mut machine = Machine::boot(|_| {});
    machine.start(shell("echo up; sleep 1000")).unwrap().wait_for("up");
    for n in 0..40 {
        machine.send(&HostMessage::Processes { request: RequestId(n) });
        machine.send(&HostMessage::Stats { request: RequestId(n) });
    }
    let answers: Vec<String> = (0..80).map(|_| format!("{:?}", machine.receive())).collect();
    for n in 0..40 {
        assert_eq!(answers.iter().filter(|answer| answer.contains(&format!("RequestId({n})"))).count(), 2);
    }
    machine.send(&HostMessage::Signal { process: crate::machine::PROCESS, signal: 9 });
    assert_eq!(machine.exit(), ExitStatus::Signal(9));
    machine.shut_down();
}
