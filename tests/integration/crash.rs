//! `kill -9` at any moment: the next command tells the truth and nothing stays.

use std::io::Read;
use std::process::Stdio;

use crate::support::{Moat, eventually, kill_9, monitor_of, names_in, vm_processes};

/// A container that runs in the foreground of a client, whose output has begun.
fn running(moat: &Moat, options: &[&str]) -> (std::process::Child, String) {
    let words =
        ["run"].iter().chain(options).chain(&["localhost/busybox", "sh", "-c", "echo up; sleep 100000"]);
    let mut client =
        moat.command(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("moat starts");
    let mut line = [0; 3];
    client.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("output");
    assert_eq!(&line, b"up\n");
    let id = moat.only_container();
    (client, id)
}

fn cgroup_exists(id: &str) -> bool {
    std::path::Path::new("/sys/fs/cgroup/moat").join(id).exists()
}

#[test]
fn a_killed_client_does_not_lose_the_container() {
    let moat = Moat::with(&["busybox"]);
    let (mut client, id) = running(&moat, &[]);
    client.kill().expect("killed");
    client.wait().expect("reaped");
    assert!(moat.run(["ps"]).ok().contains("Up "), "it goes on");
    assert_eq!(moat.run(["logs", &id]).ok(), "up\n");
    moat.run(["rm", "-f", &id]).ok();
    moat.assert_clean();
    assert!(!cgroup_exists(&id));
}

#[test]
fn a_killed_monitor_takes_its_vm_along_and_is_noticed() {
    let moat = Moat::with(&["busybox"]);
    let (mut client, id) = running(&moat, &[]);
    let vm = vm_processes(&id);
    assert_eq!(vm.len(), 1, "{vm:?}");
    kill_9(monitor_of(&id));
    let status = client.wait().expect("the client ends");
    assert_eq!(status.code(), Some(125));
    eventually("the VM to end", || vm_processes(&id).is_empty());
    let table = moat.run(["ps", "-a"]).ok();
    assert!(table.contains("Exited (137)"), "{table}");
    assert!(!cgroup_exists(&id), "the next command removes the cgroup");
    moat.run(["rm", &id]).ok();
    moat.assert_clean();
}

#[test]
fn a_killed_vm_ends_the_container() {
    let moat = Moat::with(&["busybox"]);
    let (mut client, id) = running(&moat, &[]);
    for pid in vm_processes(&id) {
        kill_9(pid);
    }
    assert_eq!(client.wait().expect("the client ends").code(), Some(137));
    assert!(moat.run(["ps", "-a"]).ok().contains("Exited (137)"));
    assert!(!cgroup_exists(&id));
    moat.run(["rm", &id]).ok();
    moat.assert_clean();
}

#[test]
fn with_rm_nothing_stays_whatever_is_killed() {
    for victim in ["monitor", "vm", "all"] {
        let moat = Moat::with(&["busybox"]);
        let (mut client, id) = running(&moat, &["--rm"]);
        let (monitor, vm) = (monitor_of(&id), vm_processes(&id));
        if victim == "all" {
            client.kill().expect("killed");
        }
        if victim != "vm" {
            kill_9(monitor);
        }
        if victim != "monitor" {
            vm.into_iter().for_each(kill_9);
        }
        client.wait().expect("reaped");
        eventually("the container to be gone", || moat.containers().is_empty());
        moat.assert_clean();
        assert!(!cgroup_exists(&id), "{victim}");
    }
}

/// Kills client, monitor and VM together at many moments of a short run, wherever it is just then.
#[test]
fn a_run_can_be_killed_at_any_moment() {
    let moat = Moat::with(&["busybox"]);
    for round in 0..16_u64 {
        let mut client = moat
            .command(["run", "--rm", "localhost/busybox", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moat starts");
        // The moments are spread over the whole run; which step each one hits does not matter.
        std::thread::sleep(std::time::Duration::from_millis(30 + 190 * round));
        client.kill().expect("killed");
        client.wait().expect("reaped");
        for pid in crate::support::processes_of(moat.root()) {
            kill_9(pid);
        }
        eventually("the container to be gone", || moat.containers().is_empty());
        assert_eq!(names_in(&moat.root().join("containers")), Vec::<String>::new(), "round {round}");
        assert_eq!(names_in(&moat.root().join("names")), Vec::<String>::new(), "round {round}");
    }
    moat.assert_clean();
    moat.run(["run", "--rm", "localhost/busybox", "true"]).code(0);
}

#[test]
fn signals_reach_the_process() {
    let moat = Moat::with(&["busybox"]);
    for (signal, expected) in [(libc::SIGINT, 33), (libc::SIGTERM, 44)] {
        let script = "trap 'exit 33' INT; trap 'exit 44' TERM; echo up; while true; do sleep 0.1; done";
        let mut client = moat
            .command(["run", "--rm", "localhost/busybox", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("moat starts");
        let mut line = [0; 3];
        client.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("output");
        let pid = nix::unistd::Pid::from_raw(client.id().cast_signed());
        let signal = nix::sys::signal::Signal::try_from(signal).expect("a signal");
        nix::sys::signal::kill(pid, signal).expect("sent");
        assert_eq!(client.wait().expect("it ends").code(), Some(expected), "{signal}");
    }
    moat.assert_clean();
}
