//! What a container has changed, as a list and as a layer.

use std::fs;
use std::path::Path;

use moat_protocol::{ArchiveTask, ExitStatus, HostMessage};
use moat_test_harness::{Test, tests};
use tar::EntryType;

use crate::machine::{Machine, PROCESS, REQUEST, shell};
use crate::tar::{list, names};

pub const TESTS: &[Test] = tests![
    a_container_that_did_nothing_has_changed_nothing,
    a_working_directory_and_what_lies_beside_mount_points_is_a_change,
    changes_are_listed_as_docker_lists_them,
    a_layer_says_the_same_to_other_tools,
    contents_count_where_times_have_been_set_back,
    a_name_that_a_layer_cannot_have_is_refused,
    a_container_stands_still_meanwhile_and_goes_on_whatever_happens,
];

fn prepare(root: &Path) {
    fs::create_dir_all(root.join("data/keep")).unwrap();
    fs::create_dir_all(root.join("again/old")).unwrap();
    for name in ["data/changed", "data/deleted", "data/touched", "data/keep/same", "again/file", "again/same"]
    {
        fs::write(root.join(name), "image").unwrap();
    }
    fs::create_dir_all(root.join("gone/below")).unwrap();
    fs::write(root.join("replaced"), "file").unwrap();
    fs::write(root.join("etc/hosts"), "image").unwrap();
}

const WORK: &str = "echo more >>/data/changed; rm /data/deleted; chmod 600 /data/touched; rm -r /gone; \
    : >>/data/keep/same; rm /replaced; mkdir /replaced; echo x >/replaced/x; echo new >/new; ln /new /twin; \
    mkdir /empty; rm -r /again; mkdir /again; echo image >/again/file; chmod 700 /again; echo x >/dev/x; \
    echo x >>/etc/hosts; mkdir /made && rm -r /made";

fn work(machine: &mut Machine) {
    assert_eq!(machine.run(shell(WORK)).output(), "");
}

fn layer(freeze: bool) -> ArchiveTask {
    ArchiveTask::Layer { freeze }
}

fn a_container_that_did_nothing_has_changed_nothing() {
    let mut machine = Machine::boot(|root| {
        // Nothing of what is mounted on is there, nor the directory that a link of the image names.
        fs::remove_dir_all(root.join("etc")).unwrap();
        std::os::unix::fs::symlink("usr/etc", root.join("etc")).unwrap();
    });
    assert_eq!(machine.changes(), Vec::<String>::new());
    machine.run(shell("cat /etc/hosts /etc/hostname; ls /proc /sys /dev")).output();
    assert!(machine.upper().join("usr/etc/hosts").exists());
    assert_eq!(machine.changes(), Vec::<String>::new());
    assert_eq!(names(&machine.archive(layer(true)).unwrap().0), Vec::<String>::new());
    machine.shut_down();
}

fn a_working_directory_and_what_lies_beside_mount_points_is_a_change() {
    let mut machine = Machine::boot(|_| {});
    let mut spec = shell("echo x >/etc/own");
    spec.process.set_cwd("/srv/work".into());
    machine.run(spec).output();
    assert_eq!(machine.changes(), ["C/etc", "A/etc/own", "A/srv", "A/srv/work"]);
    machine.shut_down();
}

fn changes_are_listed_as_docker_lists_them() {
    let mut machine = Machine::boot(prepare);
    work(&mut machine);
    let expected = [
        "C/again",
        "C/again/file",
        "D/again/old",
        "D/again/same",
        "C/data",
        "C/data/changed",
        "D/data/deleted",
        "C/data/touched",
        "A/empty",
        "D/gone",
        "A/new",
        "C/replaced",
        "A/replaced/x",
        "A/twin",
    ];
    assert_eq!(machine.changes(), expected);
    machine.shut_down();
}

fn a_layer_says_the_same_to_other_tools() {
    let mut machine = Machine::boot(prepare);
    work(&mut machine);
    let (bytes, _) = machine.archive(layer(true)).unwrap();
    let expected = [
        "again/",
        "again/.wh..wh..opq",
        "again/file",
        "data/",
        "data/changed",
        "data/.wh.deleted",
        "data/touched",
        "empty/",
        ".wh.gone",
        "new",
        "replaced/",
        "replaced/x",
        "twin",
    ];
    assert_eq!(names(&bytes), expected);
    let found = list(&bytes);
    assert_eq!(found["data/changed"].contents, b"imagemore\n");
    assert_eq!((found["twin"].kind, found["twin"].link.as_str()), (EntryType::Link, "new"));
    assert_eq!((found["again/"].mode, found["data/touched"].mode), (0o700, 0o600));
    let whiteout = &found[".wh.gone"];
    assert_eq!((whiteout.kind, whiteout.contents.len(), whiteout.mtime), (EntryType::Regular, 0, 0));
    assert!(found.values().all(|item| item.records.keys().all(|key| !key.contains("trusted"))));
    // The same changes are the same layer.
    assert!(machine.archive(layer(false)).unwrap().0 == bytes);
    machine.shut_down();
}

fn contents_count_where_times_have_been_set_back() {
    let mut machine = Machine::boot(prepare);
    // Also when nothing but a word of the same length is another.
    let command = "cp() { :; }; touch -r /data/changed /tmp/when; printf other >/data/changed; touch -r /tmp/when /data/changed; \
        touch -r /data/keep/same /tmp/when; printf image >/data/keep/same; touch -r /tmp/when /data/keep/same; rm /tmp/when";
    machine.run(shell(command)).output();
    assert_eq!(machine.changes(), ["C/data", "C/data/changed"]);
    machine.shut_down();
}

fn a_name_that_a_layer_cannot_have_is_refused() {
    let mut machine = Machine::boot(|_| {});
    machine.run(shell("echo x >/tmp/.wh.passwd")).output();
    let (_, message) = machine.archive(layer(true)).unwrap_err();
    assert_eq!(message, "tmp/.wh.passwd: a layer cannot have a file of this name");
    machine.shut_down();
}

fn is_frozen(machine: &Machine) -> bool {
    let events = fs::read_to_string(machine.cgroup().join("cgroup.events")).unwrap();
    events.lines().any(|line| line == "frozen 1")
}

fn wait_until(mut what: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !what() {
        assert!(std::time::Instant::now() < deadline, "it never happens");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn a_container_stands_still_meanwhile_and_goes_on_whatever_happens() {
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine
        .start(shell("dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; echo up; while :; do echo tick; sleep 0.01; done"))
        .unwrap();
    streams.wait_for("up");
    // The layer is not read, so the child cannot finish it.
    let stream = machine.begin(REQUEST, layer(true));
    wait_until(|| is_frozen(&machine));
    // A second one that ends before does not let the container go on.
    let (bytes, _) = {
        let second = moat_protocol::RequestId(77);
        let mut stream = machine.begin(second, layer(true));
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
        (bytes, machine.answer(second).unwrap())
    };
    assert!(names(&bytes).contains(&"big".to_owned()));
    assert!(is_frozen(&machine));
    // The host goes away in the middle of the first.
    drop(stream);
    assert!(machine.answer(REQUEST).is_err());
    wait_until(|| !is_frozen(&machine));
    streams.wait_for("tick");
    // A frozen container can be ended.
    let _stream = machine.begin(REQUEST, layer(true));
    wait_until(|| is_frozen(&machine));
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 9 });
    assert_eq!(machine.exit(), ExitStatus::Signal(9));
    machine.shut_down();
}
