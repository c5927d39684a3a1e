//! What a container finds when it starts.

use std::fs;

use moat_test_harness::{Test, tests};

use crate::machine::{Machine, shell, tmpfs};

pub const TESTS: &[Test] = tests![
    file_systems_are_mounted_as_under_docker,
    devices_work_and_no_others_are_there,
    masked_paths_are_empty_and_read_only_paths_are_read_only,
    names_and_files_of_etc_are_the_containers,
    a_read_only_root_has_its_exceptions,
    namespaces_are_the_containers_own,
    a_size_limits_a_tmpfs,
];

fn output(command: &str) -> String {
    Machine::boot(|_| {}).run(shell(command)).output()
}

fn file_systems_are_mounted_as_under_docker() {
    let mounts = output("cat /proc/mounts");
    for (target, kind, options) in [
        ("/proc", "proc", "rw,nosuid,nodev,noexec,relatime"),
        ("/dev", "tmpfs", "rw,nosuid,size=65536k,mode=755"),
        ("/dev/pts", "devpts", "rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666"),
        ("/sys", "sysfs", "ro,nosuid,nodev,noexec,relatime"),
        ("/sys/fs/cgroup", "cgroup2", "ro,nosuid,nodev,noexec,relatime"),
        ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec,relatime"),
        ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec,relatime,size=1024k"),
        ("/etc/hosts", "", "rw"),
        ("/etc/hostname", "", "rw"),
        ("/etc/resolv.conf", "", "rw"),
        ("/proc/sys", "proc", "ro,nosuid,nodev,noexec,relatime"),
        ("/proc/bus", "proc", "ro,nosuid,nodev,noexec,relatime"),
        ("/proc/keys", "tmpfs", "rw,nosuid,size=65536k"),
    ] {
        let found = mounts.lines().any(|line| {
            let mut words = line.split(' ').skip(1);
            words.next() == Some(target)
                && words.next().is_some_and(|word| kind.is_empty() || word == kind)
                && words.next().is_some_and(|word| word.starts_with(options))
        });
        assert!(found, "{target} {kind} {options} is not in\n{mounts}");
    }
    // Nothing of the machine is left.
    assert!(mounts.lines().all(|line| !line.contains("/tmp/")), "{mounts}");
}

fn devices_work_and_no_others_are_there() {
    let listing = output(
        "ls /dev; for n in null zero full random urandom tty; do stat -c '%n %a %t:%T %u:%g' /dev/$n; done",
    );
    let expected = "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
        /dev/null 666 1:3 0:0\n/dev/zero 666 1:5 0:0\n/dev/full 666 1:7 0:0\n\
        /dev/random 666 1:8 0:0\n/dev/urandom 666 1:9 0:0\n/dev/tty 666 5:0 0:0\n";
    assert_eq!(listing, expected);
    assert_eq!(
        output("echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c"),
        "3\n5\n"
    );
    assert_eq!(output("echo again >/dev/stdout; stat -c %a /dev/shm"), "again\n1777\n");
}

fn masked_paths_are_empty_and_read_only_paths_are_read_only() {
    let hidden = "cat /proc/keys /proc/timer_list /proc/interrupts | wc -c; ls -A /sys/firmware | wc -l";
    assert_eq!(output(hidden), "0\n0\n");
    let command = "echo 1 >/proc/sys/vm/drop_caches; touch /sys/x; mkdir /sys/fs/cgroup/x";
    let outcome = Machine::boot(|_| {}).run(shell(command));
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 3, "{outcome:?}");
}

fn names_and_files_of_etc_are_the_containers() {
    let mut machine = Machine::boot(|root| {
        fs::write(root.join("etc/hosts"), "6.6.6.6 image\n").unwrap();
        // As systemd's images have it.
        std::os::unix::fs::symlink("../run/systemd/resolve/stub.conf", root.join("etc/resolv.conf")).unwrap();
    });
    let output = machine
        .run(shell("hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; echo more >>/etc/hosts"))
        .output();
    assert_eq!(output, "box\nbox\n127.0.0.1\tlocalhost\n");
    // The image itself is as it was.
    assert_eq!(fs::read_to_string(machine.image().join("etc/hosts")).unwrap(), "6.6.6.6 image\n");
    assert!(machine.upper().join("run/systemd/resolve/stub.conf").exists());
}

fn a_read_only_root_has_its_exceptions() {
    let mut spec = shell(
        "touch /x; touch /etc/hosts /etc/y; touch /run/ok /dev/shm/ok /dev/ok && echo written; touch /run/ro/x; mkdir /srv/app/x",
    );
    spec.read_only_root = true;
    spec.process.set_cwd("/srv/app".into());
    spec.mounts.push(tmpfs("/run", &["nosuid", "noexec", "rprivate", "size=64k", "mode=1777"]));
    spec.mounts.push(tmpfs("/run/ro", &["ro"]));
    let outcome = Machine::boot(|_| {}).run(spec);
    assert_eq!(outcome.stdout, "written\n");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 5, "{outcome:?}");
}

fn namespaces_are_the_containers_own() {
    let output = output(
        "echo $$; cat /proc/self/cgroup | grep ^0; ls /sys/fs/cgroup | grep -c cgroup.procs; ps >/tmp/ps; wc -l </tmp/ps; ip -o link show lo | grep -c UP",
    );
    let lines: Vec<&str> = output.lines().collect();
    // The shell and ps, under a heading.
    assert_eq!(lines, ["1", "0::/", "1", "3", "1"]);
    let here = fs::read_link("/proc/self/ns/uts").unwrap();
    let there = Machine::boot(|_| {}).run(shell("readlink /proc/self/ns/uts")).output();
    assert_ne!(there.trim(), here.to_str().unwrap());
}

fn a_size_limits_a_tmpfs() {
    let outcome = Machine::boot(|_| {}).run(shell("dd if=/dev/zero of=/dev/shm/x bs=1k count=2000"));
    assert!(outcome.stderr.contains("No space left on device"), "{outcome:?}");
}
