//! `kill -9` of the command, the monitor, the VM and of all three, at every named place of a container's life, of what is
//! done with its files, and of its joining a network and leaving it.

use std::path::Path;
use std::process::{Child, Stdio};

use moat_records::failpoint::{FILE_POINTS, NETWORK_POINTS, POINTS};

use crate::support::{Moat, eventually, kill_9, names_in, processes_of, vm_processes};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Command,
    Monitor,
    Vm,
    All,
}

const VICTIMS: [Victim; 4] = [Victim::Command, Victim::Monitor, Victim::Vm, Victim::All];

fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next().map(|s| s == "T")).unwrap_or(false)
}

fn resume(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGCONT);
}

fn words(pid: i32) -> Vec<String> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|&b| b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn monitors(moat: &Moat) -> Vec<i32> {
    processes_of(moat.root())
        .into_iter()
        .filter(|pid| words(*pid).iter().any(|w| w.ends_with("/moat-monitor")))
        .collect()
}

fn vms(moat: &Moat) -> Vec<i32> {
    names_in(&moat.root().join("containers")).iter().flat_map(|id| vm_processes(id)).collect()
}

/// Starts a command and waits until it or its monitor stands still at `point`; false when it ended before.
fn halt(moat: &Moat, point: &str, args: &[&str]) -> (Child, bool) {
    let mut command = moat.command(args);
    command.env("MOAT_FAILPOINT", point).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("moat starts");
    let mut reached = false;
    eventually(&format!("{point} of {args:?}"), || {
        reached = is_stopped(child.id().cast_signed()) || monitors(moat).into_iter().any(is_stopped);
        reached || child.try_wait().expect("a child").is_some()
    });
    (child, reached)
}

/// Kills the victims and lets the others go on.
fn strike(moat: &Moat, victim: Victim, child: &mut Child) {
    let (monitors, vms) = (monitors(moat), vms(moat));
    if matches!(victim, Victim::Command | Victim::All) {
        kill_9(child.id().cast_signed());
    }
    if matches!(victim, Victim::Monitor | Victim::All) {
        monitors.iter().copied().for_each(kill_9);
    }
    if matches!(victim, Victim::Vm | Victim::All) {
        vms.iter().copied().for_each(kill_9);
    }
    monitors.into_iter().chain([child.id().cast_signed()]).for_each(resume);
}

/// Each container and whether the list says that it runs.
fn list(moat: &Moat) -> Vec<(String, bool)> {
    let table = moat.run(["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]).ok();
    let row = |line: &str| {
        let (id, state) = line.split_once(' ').expect("an id and a state");
        (id.to_owned(), matches!(state, "running" | "paused" | "restarting"))
    };
    table.lines().map(row).collect()
}

/// What every crash must leave: a truthful list, and a container that can be removed without a trace.
fn check(moat: &Moat, context: &str) {
    for (id, runs) in list(moat) {
        if !runs {
            assert_eq!(vm_processes(&id), Vec::<i32>::new(), "{context}: it still runs");
        } else if monitors(moat).is_empty() {
            // It may have ended after the list was made; then the next one says so.
            assert!(!list(moat).contains(&(id, true)), "{context}: listed as running and no monitor runs it");
        }
    }
    let ids = moat.containers();
    let cgroups = || names_in(Path::new("/sys/fs/cgroup/moat"));
    if !ids.is_empty() {
        moat.run(["rm", "-f"].into_iter().chain(ids.iter().map(String::as_str))).ok();
    }
    eventually("everything to be gone", || {
        moat.containers().is_empty() && processes_of(moat.root()).is_empty()
    });
    for place in ["containers", "names", "networks/attached"] {
        assert_eq!(names_in(&moat.root().join(place)), Vec::<String>::new(), "{context}: {place}");
    }
    let left: Vec<_> = cgroups().into_iter().filter(|name| ids.contains(name)).collect();
    assert_eq!(left, Vec::<String>::new(), "{context}: cgroups");
    let taps: Vec<_> = names_in(Path::new("/sys/class/net"))
        .into_iter()
        .filter(|link| ids.iter().any(|id| link.starts_with(&format!("mt-{}", &id[..11]))))
        .collect();
    assert_eq!(taps, Vec::<String>::new(), "{context}: taps");
}

/// Brings a container to `point` with its command, kills the victim there, and looks at what is left.
fn crash(moat: &Moat, point: &str, victim: Victim) {
    // A container that exists before for what starts or removes one, a new one for everything else.
    let exists = point == "start.recorded" || point.starts_with("remove.");
    if exists {
        moat.run(["create", "--name", "box", "localhost/busybox", "true"]).ok();
    }
    let args: &[&str] = match point {
        "start.recorded" => &["start", "-a", "box"],
        _ if exists => &["rm", "box"],
        _ => &["run", "--name", "box", "localhost/busybox", "true"],
    };
    crash_command(moat, point, victim, args);
}

fn crash_command(moat: &Moat, point: &str, victim: Victim, args: &[&str]) {
    let (mut child, reached) = halt(moat, point, args);
    assert!(reached, "{point} was never reached by {args:?}");
    strike(moat, victim, &mut child);
    child.wait().expect("reaped");
    check(moat, &format!("{victim:?} killed at {point} of {args:?}"));
}

/// Each place once, with everything killed at every other one and one of the three in between.
#[test]
fn at_every_point_of_a_life() {
    let moat = Moat::with(&["busybox"]);
    for (round, point) in POINTS.into_iter().enumerate() {
        crash(&moat, point, if round % 2 == 0 { Victim::All } else { VICTIMS[round / 2 % 3] });
    }
    moat.run(["run", "--rm", "localhost/busybox", "true"]).ok();
}

/// What is done with files, those of the host in `place`, and the places in the code that it comes by.
fn file_work(place: &Path) -> Vec<(&'static str, Vec<String>)> {
    let file = place.join("file");
    std::fs::write(&file, vec![7; 1 << 20]).expect("written");
    let (out, file) = (place.join("out").display().to_string(), file.display().to_string());
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let copies = [words(&["cp", "box:/bin", &out]), words(&["cp", &file, "box:/tmp"])];
    let commit = words(&["commit", "box", "localhost/snap"]);
    let of_copies =
        copies.iter().flat_map(|copy| FILE_POINTS[..2].iter().map(|&point| (point, copy.clone())));
    of_copies.chain(FILE_POINTS.map(|point| (point, commit.clone()))).collect()
}

/// Kills the victim at `point` of something that is done with the files of a container, which runs or does not.
fn crash_files(moat: &Moat, point: &str, victim: Victim, args: &[String], runs: bool) {
    let container: &[&str] = if runs { &["run", "-d"] } else { &["create"] };
    moat.run(container.iter().chain(&["--name", "box", "localhost/busybox", "sleep", "100000"])).ok();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    crash_command(moat, point, victim, &args);
    // An image is there whole or not at all.
    let images = moat.run(["images", "--format", "{{.Repository}}"]).ok();
    if images.contains("localhost/snap") {
        moat.run(["run", "--rm", "localhost/snap", "true"]).ok();
        moat.run(["rmi", "localhost/snap"]).ok();
    }
}

#[test]
fn at_every_point_of_work_on_files() {
    let moat = Moat::with(&["busybox"]);
    let place = tempfile::tempdir().expect("a directory");
    for (round, (point, args)) in file_work(place.path()).into_iter().enumerate() {
        crash_files(&moat, point, VICTIMS[round % 4], &args, round % 3 == 0);
    }
    moat.run(["create", "--name", "box", "localhost/busybox", "true"]).ok();
    moat.run(["commit", "box", "localhost/snap"]).ok();
    assert_eq!(names_in(&moat.root().join("staging")), Vec::<String>::new(), "what was interrupted is swept");
    moat.run(["rm", "box"]).ok();
    moat.run(["run", "--rm", "localhost/snap", "true"]).ok();
    moat.assert_clean();
}

/// Kills the victim while a container that runs joins a network or leaves it.
fn crash_network(moat: &Moat, point: &str, victim: Victim) {
    let leaves = matches!(point, "network.left" | "network.unplugged");
    // The monitor inherits the place where it is to halt from the command that starts it.
    let mut run = moat.command(["run", "-d", "--name", "box", "localhost/busybox", "sleep", "100000"]);
    run.env("MOAT_FAILPOINT", point).stdout(Stdio::null()).status().expect("it starts");
    let verb = if leaves { "disconnect" } else { "connect" };
    let network = if leaves { "bridge" } else { "shop" };
    crash_command(moat, point, victim, &["network", verb, network, "box"]);
}

#[test]
fn at_every_point_of_a_change_of_networks() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["network", "create", "shop"]).ok();
    for (round, point) in NETWORK_POINTS.into_iter().enumerate() {
        crash_network(&moat, point, VICTIMS[(round + 1) % 4]);
    }
    moat.run(["run", "--rm", "--network", "shop", "localhost/busybox", "true"]).ok();
    moat.run(["network", "rm", "shop"]).ok();
    moat.assert_clean();
}

#[test]
#[ignore = "a long story: a hundred crashes"]
fn a_hundred_times() {
    let moat = Moat::with(&["busybox"]);
    let place = tempfile::tempdir().expect("a directory");
    moat.run(["network", "create", "shop"]).ok();
    let mut rounds = 0;
    for victim in VICTIMS {
        for point in NETWORK_POINTS {
            crash_network(&moat, point, victim);
            rounds += 1;
        }
        for (point, args) in file_work(place.path()) {
            crash_files(&moat, point, victim, &args, rounds % 2 == 0);
            rounds += 1;
        }
        for point in POINTS {
            crash(&moat, point, victim);
            rounds += 1;
        }
        for point in
            ["monitor.process-started", "monitor.process-ended", "monitor.vm-gone", "remove.config-gone"]
        {
            crash_command(&moat, point, victim, &["run", "--rm", "localhost/busybox", "true"]);
            rounds += 1;
        }
        for point in ["monitor.process-ended", "monitor.vm-gone", "monitor.end-recorded"] {
            // The monitor inherits the place where it is to halt from the command that starts it.
            let mut run =
                moat.command(["run", "-d", "--name", "box", "localhost/busybox", "sleep", "100000"]);
            run.env("MOAT_FAILPOINT", point).stdout(Stdio::null()).status().expect("it starts");
            crash_command(&moat, point, victim, &["stop", "-t", "0", "box"]);
            rounds += 1;
        }
    }
    assert!(rounds >= 100, "{rounds} rounds");
    moat.run(["run", "--rm", "localhost/busybox", "true"]).ok();
}
