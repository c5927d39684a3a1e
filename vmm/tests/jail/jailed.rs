//! What the jail takes away, seen from inside and from outside.

use std::fs;
use std::os::unix::fs::MetadataExt;

use moat_test_harness::{Test, tests};
use moat_vmm::launch::Exit;

use super::probe::kinds;
use super::rig::{JAIL, Probe};

pub const TESTS: &[Test] = tests![
    other_descriptors_are_closed,
    threads_are_refused,
    nothing_of_the_host_is_left,
    every_thread_can_live_in_its_filter,
    what_no_thread_may_do_ends_the_process,
    what_only_some_threads_may_do_is_checked,
];

fn other_descriptors_are_closed() {
    let said = Probe::start("close").finish();
    let lines: Vec<&str> = said.lines().collect();
    // The configuration's descriptor, 3, is closed already; the pipe took its number and 6.
    assert_eq!(lines, ["[0, 1, 2, 3, 4, 5, 6]", "[0, 1, 2, 4, 5]"]);
}

fn threads_are_refused() {
    assert!(Probe::start("threads").finish().contains("before threads are started"));
}

fn nothing_of_the_host_is_left() {
    let mut probe = Probe::start("jail");
    let mut said = Vec::new();
    while said.last().is_none_or(|line| line != "jailed") {
        said.push(probe.line());
    }
    let inside = [
        "open No such file or directory (os error 2)",
        "create Permission denied (os error 13)",
        "above Permission denied (os error 13)",
        "list Permission denied (os error 13)",
        "setuid EPERM: Operation not permitted",
        "unshare EPERM: Operation not permitted",
        "mount EPERM: Operation not permitted",
        "kill ESRCH: No such process",
        "dumpable 0",
        "host moat",
        "net Network is unreachable (os error 101)",
        "jailed",
    ];
    for (line, expected) in said.iter().zip(inside) {
        // Which of the two an empty directory without permissions answers depends on the order of the kernel's checks.
        let same = line.replace("No such file or directory (os error 2)", "Permission denied (os error 13)");
        let expected =
            expected.replace("No such file or directory (os error 2)", "Permission denied (os error 13)");
        assert_eq!(same, expected);
    }
    assert_eq!(said.len(), inside.len());
    from_outside(&probe);
    probe.go_on();
    assert_eq!(probe.child.wait().unwrap(), Exit::Status(0), "{}", probe.errors());
}

fn from_outside(probe: &Probe) {
    let four = |id: u32| format!("{id} {id} {id} {id}");
    let threads = fs::read_dir(format!("/proc/{}/task", probe.child.pid())).unwrap().count();
    assert_eq!(threads, 2);
    assert_eq!(probe.status("Name"), "moat-vmm");
    assert_eq!(probe.status("Uid"), four(JAIL.uid));
    assert_eq!(probe.status("Gid"), four(JAIL.gid));
    assert_eq!(probe.status("Groups"), "");
    assert!(probe.status("NSpid").ends_with(" 1"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(probe.status(set), "0000000000000000", "{set}");
    }
    assert_eq!(probe.status("NoNewPrivs"), "1");
    assert_eq!(probe.status("Seccomp"), "2");
    for task in fs::read_dir(format!("/proc/{}/task", probe.child.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for expected in ["Seccomp:\t2\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n"] {
            assert!(status.contains(expected), "{status}");
        }
    }
    for name in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let theirs = fs::read_link(format!("/proc/{}/ns/{name}", probe.child.pid())).unwrap();
        assert_ne!(theirs, fs::read_link(format!("/proc/self/ns/{name}")).unwrap());
    }
    let root = format!("/proc/{}/root", probe.child.pid());
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0);
    let mounts = probe.proc("mountinfo");
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" / / ro,nosuid,nodev,noexec"), "{mounts}");
    let limits = probe.proc("limits");
    for limit in ["core file size", "locked memory", "msgqueue size"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(&format!("Max {limit}"))).unwrap();
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{limit}");
    }
    let size = limits.lines().find(|line| line.starts_with("Max file size")).unwrap();
    assert!(!size.contains("unlimited"), "{size}");
    let interfaces = probe.proc("net/dev");
    assert_eq!(interfaces.lines().skip(2).count(), 1, "only an idle loopback: {interfaces}");
}

fn every_thread_can_live_in_its_filter() {
    for (kind, _) in kinds().into_iter().skip(1) {
        let mut probe = Probe::start(&format!("live {kind}"));
        let said = probe.rest();
        assert_eq!(probe.child.wait().unwrap(), Exit::Status(0), "{kind}: {said}\n{}", probe.errors());
        assert_eq!(said, "lived\n");
        let errors = probe.errors();
        assert_eq!(errors.matches("a panic in the jail").count(), 4, "{errors}");
        assert_eq!(errors.matches("a line in the jail").count(), 4, "{errors}");
    }
}

fn killed(kind: &str, what: &str) {
    let mut probe = Probe::start(&format!("do {kind} {what}"));
    assert_eq!(probe.rest(), "trying\n", "{kind} may do {what}");
    assert_eq!(probe.child.wait().unwrap(), Exit::Signal(libc::SIGSYS), "{kind} {what}: {}", probe.errors());
}

fn what_no_thread_may_do_ends_the_process() {
    let all = [
        "open",
        "exec",
        "socket",
        "clone",
        "kill",
        "prctl",
        "seccomp",
        "ioctl",
        "make-tap",
        "memfd",
        "executable-memory",
        "file-memory",
        "make-executable",
        "advise",
        "x32",
    ];
    for (kind, _) in kinds() {
        for what in all {
            killed(kind, what);
        }
    }
}

fn what_only_some_threads_may_do_is_checked() {
    for (kind, what) in [
        ("main", "tgkill"),
        ("main", "receive"),
        ("main", "send"),
        ("vsock", "pair"),
        ("vcpu", "dup"),
        ("net", "dup"),
        ("net", "timer"),
        ("block", "timer"),
        ("block", "truncate"),
    ] {
        killed(kind, what);
    }
}
