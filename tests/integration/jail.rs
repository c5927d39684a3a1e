//! The jail around a running VM, seen from the host.

use std::fs;
use std::path::Path;

use crate::support::{Moat, vm_processes};

fn status(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives")
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
    line[name.len()..].trim_start_matches(':').trim()
}

#[test]
fn the_vm_process_has_nothing() {
    let moat = Moat::with(&["busybox"]);
    let id = moat.sleeper(&["--memory", "128m"]);
    let pids = vm_processes(&id);
    let [pid] = pids.as_slice() else { panic!("not one VM process: {pids:?}") };
    let text = status(*pid);
    let uids: Vec<u32> =
        field(&text, "Uid").split_whitespace().map(|uid| uid.parse().expect("a uid")).collect();
    assert!(uids.iter().all(|&uid| uid >= 0x4000_0000 && uid == uids[0]), "{uids:?}");
    assert_eq!(field(&text, "Groups"), "");
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&text, capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!(field(&text, "NoNewPrivs"), "1");
    assert_eq!(field(&text, "NSpid").split_whitespace().last(), Some("1"), "PID 1 of its own namespace");

    for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("threads").flatten() {
        let text = fs::read_to_string(thread.path().join("status")).expect("a thread");
        assert_eq!(field(&text, "Seccomp"), "2", "{}", field(&text, "Name"));
    }
    for namespace in ["mnt", "pid", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).expect("a namespace");
        assert_ne!(of(&pid.to_string()), of("self"), "{namespace}");
    }
    let root = Path::new("/proc").join(pid.to_string()).join("root");
    assert_eq!(crate::support::names_in(&root), Vec::<String>::new(), "its root is empty");
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a command line");
    assert!(!command.contains("busybox") && !command.contains(&*moat.root().to_string_lossy()), "{command}");

    let cgroup = Path::new("/sys/fs/cgroup/moat").join(&id);
    let read = |file: &str| fs::read_to_string(cgroup.join(file)).expect("a limit").trim().to_owned();
    assert_eq!(read("memory.max"), ((128 + 64) << 20).to_string());
    assert_ne!(read("pids.max"), "max");
    moat.run(["rm", "-f", &id]).ok();
    moat.assert_clean();
}

#[test]
fn two_vms_share_no_user() {
    let moat = Moat::with(&["busybox"]);
    let ids = [moat.sleeper(&[]), moat.sleeper(&[])];
    let uids: Vec<String> =
        ids.iter().map(|id| field(&status(vm_processes(id)[0]), "Uid").to_owned()).collect();
    assert_ne!(uids[0], uids[1]);
    for id in ids {
        moat.run(["rm", "-f", &id]).ok();
    }
    moat.assert_clean();
}

#[test]
fn processor_time_is_limited_by_the_cgroup() {
    let moat = Moat::with(&["busybox"]);
    let id = moat.sleeper(&["--cpus", "0.5"]);
    let limit =
        fs::read_to_string(Path::new("/sys/fs/cgroup/moat").join(&id).join("cpu.max")).expect("a limit");
    assert_eq!(limit.trim(), "50000 100000");
    moat.run(["rm", "-f", &id]).ok();
}
