//! Who the process is and what it may do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use moat_protocol::{ContainerSpec, ExitStatus, HostMessage};
use moat_test_harness::{Test, tests};
use oci_spec::runtime::{Capability, PosixRlimitBuilder, PosixRlimitType};

use crate::machine::{Machine, PROCESS, capabilities, shell, spec};

pub const TESTS: &[Test] = tests![
    users_are_resolved_in_the_container,
    capabilities_are_dockers,
    ambient_capabilities_reach_a_user_and_no_new_privileges_is_set,
    limits_and_scores_are_set,
    nothing_of_the_agent_is_inherited,
    a_missing_working_directory_is_created_for_root,
    a_working_directory_may_be_closed_to_the_user,
    codes_and_signals_are_reported,
    signals_of_the_host_arrive,
    what_the_process_leaves_behind_ends_with_it,
];

fn run(spec: ContainerSpec) -> String {
    Machine::boot(|_| {}).run(spec).output()
}

fn as_user(user: &str, command: &str) -> ContainerSpec {
    ContainerSpec { user: user.to_owned(), ..shell(command) }
}

fn status(spec: ContainerSpec) -> BTreeMap<String, String> {
    let fields = run(spec);
    fields
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn users_are_resolved_in_the_container() {
    let who = "echo $(id -u) $(id -g) $(id -G) $HOME";
    for (user, expected) in [
        ("", "0 0 0 /root"),
        ("app", "1000 1001 1001 44 /home/app"),
        ("1000", "1000 1001 1001 44 /home/app"),
        ("app:video", "1000 44 44 /home/app"),
        ("2000:3000", "2000 3000 3000 /"),
        ("0:0", "0 0 0 /root"),
    ] {
        assert_eq!(run(as_user(user, who)).trim(), expected, "{user:?}");
    }
    let mut with_home = as_user("app", "echo $HOME");
    with_home.process.set_env(Some(vec!["PATH=/bin".to_owned(), "HOME=/given".to_owned()]));
    assert_eq!(run(with_home), "/given\n");
}

fn capabilities_are_dockers() {
    let dockers = "00000000a80425fb";
    let none = "0000000000000000";
    let root = status(spec(&["cat", "/proc/self/status"]));
    for (set, expected) in
        [("CapInh", none), ("CapPrm", dockers), ("CapEff", dockers), ("CapBnd", dockers), ("CapAmb", none)]
    {
        assert_eq!(root[set], expected, "{set}");
    }
    let user = status(as_user("app", "cat /proc/self/status"));
    for (set, expected) in
        [("CapInh", none), ("CapPrm", none), ("CapEff", none), ("CapBnd", dockers), ("CapAmb", none)]
    {
        assert_eq!(user[set], expected, "{set}");
    }
    assert_eq!(user["NoNewPrivs"], "0");
    assert_eq!(user["SigBlk"], none);
    // The agent ignores SIGPIPE, its child must not; what else is ignored here comes from the caller of the tests.
    let ignored = u64::from_str_radix(&user["SigIgn"], 16).unwrap();
    assert_eq!(ignored & 1 << (nix::libc::SIGPIPE - 1), 0);
}

fn ambient_capabilities_reach_a_user_and_no_new_privileges_is_set() {
    let mut spec = as_user("app", "cat /proc/self/status");
    let mut sets = capabilities();
    let kept = Some([Capability::NetBindService].into());
    sets.set_inheritable(kept.clone()).set_ambient(kept);
    spec.process.set_capabilities(Some(sets));
    spec.process.set_no_new_privileges(Some(true));
    spec.process.set_oom_score_adj(Some(321));
    let user = status(spec);
    assert_eq!(user["CapEff"], "0000000000000400");
    assert_eq!(user["CapAmb"], "0000000000000400");
    assert_eq!(user["NoNewPrivs"], "1");
}

fn limits_and_scores_are_set() {
    let mut spec = as_user(
        "app",
        "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; umask; cat /proc/self/loginuid >/dev/null; pwd",
    );
    let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(123u64).hard(456u64);
    spec.process.set_rlimits(Some(vec![limit.build().unwrap()]));
    spec.process.set_oom_score_adj(Some(321));
    assert_eq!(run(spec), "123\n456\n321\n0022\n/\n");
}

fn nothing_of_the_agent_is_inherited() {
    assert_eq!(run(spec(&["ls", "/proc/1/fd"])), "0\n1\n2\n3\n");
    let mut bare = spec(&["/bin/env"]);
    bare.process.set_env(Some(vec!["A=1".to_owned(), "B=x=y z".to_owned(), "A=2".to_owned()]));
    assert_eq!(run(bare), "A=1\nB=x=y z\nA=2\nHOME=/root\n");
}

fn a_missing_working_directory_is_created_for_root() {
    let mut machine = Machine::boot(|_| {});
    let mut spec = as_user("app", "pwd; touch x || echo refused");
    spec.process.set_cwd("/srv/deep/work".into());
    assert_eq!(machine.run(spec).stdout, "/srv/deep/work\nrefused\n");
    for path in ["srv", "srv/deep", "srv/deep/work"] {
        let metadata = fs::metadata(machine.upper().join(path)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o755, 0, 0), "{path}");
    }
}

fn a_working_directory_may_be_closed_to_the_user() {
    let mut machine = Machine::boot(|root| {
        fs::create_dir(root.join("closed")).unwrap();
        fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    });
    let mut spec = as_user("app", "pwd");
    spec.process.set_cwd("/closed".into());
    assert_eq!(machine.run(spec).output(), "/closed\n");
}

fn codes_and_signals_are_reported() {
    for (command, status) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 42", ExitStatus::Code(42)),
        ("exit 255", ExitStatus::Code(255)),
        // PID 1 of a namespace is immune to its own signals.
        ("kill -9 $$; exit 7", ExitStatus::Code(7)),
    ] {
        assert_eq!(Machine::boot(|_| {}).run(shell(command)).status, status, "{command}");
    }
}

fn signals_of_the_host_arrive() {
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine
        .start(shell("trap 'echo term; exit 9' TERM; echo ready; while :; do sleep 0.05; done"))
        .unwrap();
    streams.wait_for("ready");
    // Without a handler PID 1 ignores it. An unknown process is no error.
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 12 });
    machine.send(&HostMessage::Signal { process: moat_protocol::ProcessId(99), signal: 9 });
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 500 });
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 15 });
    streams.wait_for("term");
    assert_eq!(machine.exit(), ExitStatus::Code(9));

    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(shell("echo ready; sleep 1000 & sleep 1000")).unwrap();
    streams.wait_for("ready");
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 9 });
    assert_eq!(machine.exit(), ExitStatus::Signal(9));
    // It is gone, and a late signal hits no process.
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 9 });
    machine.shut_down();
}

fn what_the_process_leaves_behind_ends_with_it() {
    let mut machine = Machine::boot(|_| {});
    // The daemon holds the output open; it ends because its namespace does.
    let outcome = machine.run(shell("(sleep 1000 &) ; echo done"));
    assert_eq!(outcome.output(), "done\n");
    machine.shut_down();
}
