//! What a container's process finds: its arguments, environment, user, directories, limits; and its exit code.

use crate::support::{busybox, shared};

#[test]
fn a_command_says_hello() {
    let answer = busybox(&[], &["echo", "hello"]).code(0);
    assert_eq!((answer.text(), answer.stderr.as_str()), ("hello\n", ""));
}

#[test]
fn exit_codes_are_the_commands_own() {
    busybox(&[], &["true"]).code(0);
    busybox(&[], &["sh", "-c", "exit 42"]).code(42);
    busybox(&[], &["sh", "-c", "exit 255"]).code(255);
    // The first process of a PID namespace is not ended by its own signals; a child is, and the shell passes that on.
    busybox(&[], &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code(137);
}

#[test]
fn a_missing_command_is_127() {
    busybox(&[], &["no-such-command"]).code(127).says(&["no-such-command", "not found"]);
    busybox(&[], &["/no/such/path"]).code(127).says(&["/no/such/path", "no such file or directory"]);
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    busybox(&[], &["/etc/passwd"]).code(126).says(&["/etc/passwd", "permission denied"]);
    busybox(&[], &["/etc"]).code(126).says(&["/etc"]);
}

#[test]
fn what_moat_cannot_run_is_125() {
    shared().run(["run", "--rm", "localhost/no-such-image"]).code(125).says(&["localhost/no-such-image"]);
    shared().run(["run", "--no-such-flag", "localhost/busybox"]).code(125).says(&["--no-such-flag"]);
    let root = shared().root().to_str().expect("UTF-8");
    shared().run(["--root", root, "run", "--no-such-flag", "localhost/busybox"]).code(125);
    busybox(&["-u", "4294967296"], &["true"]).code(125).says(&["4294967296"]);
    busybox(&["-u", "nobody-by-this-name"], &["true"])
        .code(125)
        .says(&["unable to find user nobody-by-this-name"]);
    busybox(&["-w", "relative"], &["true"]).code(125).says(&["absolute"]);
    busybox(&["--memory", "1m"], &["true"]).code(125).says(&["32m"]);
}

#[test]
fn arguments_arrive_as_they_were() {
    let odd = ["", " ", "a b", "'\"$`\\", "--flag", "new\nline", "ünï", "*"];
    let command = ["sh", "-c", "for word; do printf '<%s>' \"$word\"; done", "sh"];
    let words: Vec<&str> = command.into_iter().chain(odd).collect();
    let expected: String = odd.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(busybox(&[], &words).ok(), expected);
}

#[test]
fn the_environment_is_images_users_and_dockers() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "# a comment\nFROM_FILE=one\nBOTH=file\n").expect("written");
    let path = file.path().to_str().expect("a UTF-8 path");
    let text =
        busybox(&["--env-file", path, "-e", "BOTH=flag", "-e", "EQUALS=a=b", "-h", "box"], &["env"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    for expected in ["FROM_FILE=one", "BOTH=flag", "EQUALS=a=b", "HOSTNAME=box", "HOME=/root"] {
        assert!(lines.contains(&expected), "{expected} is missing: {text}");
    }
    assert!(lines.iter().any(|line| line.starts_with("PATH=")), "{text}");
}

#[test]
fn users_are_names_and_numbers() {
    for (user, expected) in [
        ("0:0", "0:0"),
        ("1000", "1000:1000"),
        ("app", "1000:1000"),
        ("app:nobody", "1000:65534"),
        ("12345", "12345:0"),
        ("12345:678", "12345:678"),
    ] {
        let id = busybox(&["-u", user], &["sh", "-c", "echo $(id -u):$(id -g)"]).ok();
        assert_eq!(id.trim(), expected, "--user {user}");
    }
}

#[test]
fn the_working_directory_is_made_if_absent() {
    assert_eq!(busybox(&["-w", "/made/for/this"], &["pwd"]).ok(), "/made/for/this\n");
}

#[test]
fn the_entry_point_can_be_replaced() {
    assert_eq!(busybox(&["--entrypoint", "echo"], &["one", "two"]).ok(), "one two\n");
    busybox(&["--entrypoint", ""], &[]).code(125).says(&["no command specified"]);
}

#[test]
fn the_first_process_is_pid_1_in_namespaces_of_its_own() {
    assert_eq!(
        busybox(&["-h", "castle"], &["sh", "-c", "echo $$; hostname; cat /etc/hostname"]).ok(),
        "1\ncastle\ncastle\n"
    );
    let processes = busybox(&[], &["ps", "-o", "comm"]).ok();
    assert!(
        !processes.contains("init") && !processes.contains("kthreadd"),
        "sees the guest's own: {processes}"
    );
    let hosts = busybox(&["-h", "castle"], &["cat", "/etc/hosts"]).ok();
    assert!(hosts.contains("localhost") && hosts.contains("castle"), "{hosts}");
}

#[test]
fn capabilities_are_dockers_defaults() {
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot,
    // mknod, audit_write, setfcap: the mask that every Docker container shows.
    let status = busybox(&[], &["grep", "Cap", "/proc/self/status"]).ok();
    for line in ["CapPrm:\t00000000a80425fb", "CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb"] {
        assert!(status.contains(line), "{line} is missing: {status}");
    }
    let status = busybox(&["-u", "1000"], &["grep", "Cap", "/proc/self/status"]).ok();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
}

#[test]
fn paths_are_masked_and_read_only() {
    assert_eq!(busybox(&[], &["sh", "-c", "cat /proc/kcore | wc -c"]).ok().trim(), "0");
    assert_eq!(
        busybox(&[], &["sh", "-c", "ls /proc/acpi /sys/firmware 2>/dev/null | grep -v : | wc -w"])
            .ok()
            .trim(),
        "0"
    );
    busybox(&[], &["sh", "-c", "echo x > /proc/sys/kernel/hostname"]).code(1);
    busybox(&[], &["sh", "-c", "echo b > /proc/sysrq-trigger"]).code(1);
}

#[test]
fn devices_are_dockers() {
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo $d; done; \
                  test -d /dev/shm && test -d /dev/pts && test -d /dev/mqueue && test -L /dev/fd && \
                  echo x > /dev/null && head -c 4 /dev/zero | wc -c && ls /dev/vda /dev/vdb 2>&1 | grep -c 'No such'";
    assert_eq!(busybox(&[], &["sh", "-c", script]).ok(), "4\n2\n");
}

#[test]
fn a_read_only_root_refuses_writes_but_not_in_tmpfs() {
    busybox(&["--read-only"], &["touch", "/x"]).code(1);
    assert_eq!(
        busybox(
            &["--read-only", "--tmpfs", "/scratch:size=1m"],
            &["sh", "-c", "echo y > /scratch/x; cat /scratch/x"]
        )
        .ok(),
        "y\n"
    );
    busybox(&["--tmpfs", "/scratch:size=64k"], &["sh", "-c", "head -c 1000000 /dev/zero > /scratch/x"])
        .code(1);
}

#[test]
fn the_root_is_writable_and_private() {
    assert_eq!(
        busybox(
            &[],
            &[
                "sh",
                "-c",
                "echo changed > /etc/motd; rm /etc/passwd; cat /etc/motd; ls /etc/passwd 2>&1 | wc -l"
            ]
        )
        .ok(),
        "changed\n1\n"
    );
    assert!(busybox(&[], &["cat", "/etc/passwd"]).ok().contains("root:"));
}

#[test]
fn memory_and_processors_are_what_was_asked_for() {
    let kib = |options: &[&str]| -> u64 {
        let text = busybox(options, &["sh", "-c", "grep MemTotal /proc/meminfo | tr -dc 0-9"]).ok();
        text.trim().parse().expect("a number")
    };
    let (small, large) = (kib(&["--memory", "96m"]), kib(&["--memory", "1g"]));
    assert!((60 * 1024..=96 * 1024).contains(&small), "{small} KiB");
    assert!((900 * 1024..=1024 * 1024).contains(&large), "{large} KiB");
    assert_eq!(busybox(&["--cpus", "1.5"], &["grep", "-c", "^processor", "/proc/cpuinfo"]).ok(), "2\n");
}

#[test]
fn orphans_are_reaped() {
    let script = "for i in 1 2 3 4 5; do (sleep 0.1 &) ; done; sleep 1; ps -o stat | grep -c Z; true";
    assert_eq!(busybox(&[], &["sh", "-c", script]).ok().lines().next(), Some("0"));
}

#[test]
fn a_container_out_of_memory_ends_alone() {
    let answer = busybox(&["--memory", "64m"], &["sh", "-c", "x=x; while true; do x=$x$x; done"]);
    assert_ne!(answer.code, 0, "{answer:?}");
    busybox(&[], &["true"]).code(0);
}
