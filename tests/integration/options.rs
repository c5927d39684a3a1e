//! What `run` lets people say about a container's limits and powers, seen from inside.

use std::cell::Cell;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Moat, busybox, eventually, names_in};

/// The effective capabilities of a process started with `options`, as a number.
fn capabilities(options: &[&str]) -> u64 {
    let text = busybox(options, &["sh", "-c", "grep CapEff /proc/self/status"]).ok();
    u64::from_str_radix(text.trim().trim_start_matches("CapEff:").trim(), 16).expect("a mask")
}

const NET_ADMIN: u64 = 1 << 12;
const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;

#[test]
fn capabilities_are_given_and_taken() {
    let usual = capabilities(&[]);
    assert_eq!(usual.count_ones(), 14);
    assert_eq!(capabilities(&["--cap-add", "NET_ADMIN"]), usual | NET_ADMIN);
    assert_eq!(capabilities(&["--cap-drop", "chown", "--cap-drop", "CAP_KILL"]), usual & !(CHOWN | KILL));
    assert_eq!(capabilities(&["--cap-drop", "ALL", "--cap-add", "KILL"]), KILL);
    assert_eq!(capabilities(&["--cap-add", "ALL", "--cap-drop", "CHOWN"]) & (CHOWN | NET_ADMIN), NET_ADMIN);
    assert!(capabilities(&["--privileged"]).count_ones() > 35);
    busybox(&["--cap-add", "FLY"], &["true"]).code(125).says(&["FLY"]);
    let answer =
        busybox(&["--security-opt", "no-new-privileges"], &["grep", "NoNewPrivs", "/proc/self/status"]);
    assert_eq!(answer.ok().trim(), "NoNewPrivs:\t1");
}

#[test]
fn a_privileged_container_has_its_machine_to_itself() {
    let script = "test -b /dev/vda && mkdir /m && mount -t tmpfs none /m && echo 1 > /proc/sys/kernel/panic_on_oops && \
                  mkdir /sys/fs/cgroup/mine && echo all";
    assert_eq!(busybox(&["--privileged"], &["sh", "-c", script]).ok(), "all\n");
    assert_ne!(busybox(&[], &["mount", "-t", "tmpfs", "none", "/tmp"]).code, 0);
    assert_ne!(busybox(&[], &["test", "-b", "/dev/vda"]).code, 0);
}

#[test]
fn limits_are_those_that_were_asked_for() {
    let script = "ulimit -n; ulimit -Hn";
    assert_eq!(busybox(&["--ulimit", "nofile=100:200"], &["sh", "-c", script]).ok(), "100\n200\n");
    let shm = busybox(&["--shm-size", "16m"], &["sh", "-c", "df -k /dev/shm | tail -1"]).ok();
    assert_eq!(shm.split_whitespace().nth(1), Some("16384"), "{shm}");
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 2 & done; wait";
    busybox(&["--pids-limit", "4"], &["sh", "-c", script]).says(&["fork"]);
    let sysctl = busybox(&["--sysctl", "kernel.msgmax=70000"], &["cat", "/proc/sys/kernel/msgmax"]);
    assert_eq!(sysctl.ok(), "70000\n");
    busybox(&["--sysctl", "kernel.no_such_thing=1"], &["true"]).code(125).says(&["kernel.no_such_thing"]);
    busybox(&["--ulimit", "files=1"], &["true"]).code(125).says(&["nofile"]);
}

#[test]
fn an_init_reaps_orphans_and_passes_signals_on() {
    let moat = Moat::with(&["busybox"]);
    // The orphans' parent is gone before they end; PID 1 has to reap them.
    let script = "for i in 1 2 3; do (sleep 0.2 &) ; done; sleep 1; ps -o stat | grep -c Z; trap 'exit 9' TERM; echo up; while true; do sleep 0.1; done";
    moat.run(["run", "-d", "--init", "--name", "box", "localhost/busybox", "sh", "-c", script]).ok();
    eventually("it to be up", || moat.run(["logs", "box"]).ok().ends_with("up\n"));
    assert_eq!(moat.run(["logs", "box"]).ok(), "0\nup\n");
    moat.run(["stop", "box"]).ok();
    assert!(moat.run(["ps", "-a"]).ok().contains("Exited (9)"), "the signal reached the command");
    moat.run(["rm", "box"]).ok();
    moat.run(["run", "--rm", "--init", "localhost/busybox", "sh", "-c", "exit 5"]).code(5);
    moat.run(["run", "--rm", "--init", "localhost/busybox", "/nowhere"]).code(127);
    moat.assert_clean();
}

#[test]
fn labels_and_id_files_tell_containers_apart() {
    let moat = Moat::with(&["busybox"]);
    let here = tempfile::tempdir().expect("a directory");
    let file = here.path().join("id");
    let file = file.to_str().expect("UTF-8");
    let id = moat
        .run([
            "create",
            "--name",
            "one",
            "-l",
            "tier=web",
            "--label",
            "x",
            "--cidfile",
            file,
            "localhost/busybox",
        ])
        .ok();
    assert_eq!(std::fs::read_to_string(file).expect("the file"), id.trim());
    moat.run(["create", "--cidfile", file, "localhost/busybox"]).code(1).says(&["container ID file found"]);
    for nowhere in ["/nonexistent/id", "/"] {
        moat.run(["run", "--cidfile", nowhere, "localhost/busybox", "true"]).code(125).says(&[nowhere]);
    }
    assert_eq!(moat.only_container(), id.trim());
    moat.run(["create", "--name", "two", "-l", "tier=db", "localhost/busybox"]).ok();
    let listed = |filter: &str| moat.run(["ps", "-a", "--filter", filter, "--format", "{{.Names}}"]).ok();
    assert_eq!(listed("label=tier=web"), "one\n");
    assert_eq!(listed("label=tier").lines().count(), 2);
    assert_eq!(moat.run(["inspect", "-f", "{{index .Config.Labels \"tier\"}}", "two"]).ok(), "db\n");
    moat.run(["rm", "one", "two"]).ok();
    moat.assert_clean();
}

#[test]
fn a_log_is_as_large_as_it_may_be() {
    let moat = Moat::with(&["busybox"]);
    let args =
        ["run", "--name", "box", "--log-opt", "max-size=64k", "--log-opt", "max-file=2", "localhost/busybox"];
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i of a flood; i=$((i+1)); done";
    moat.run(args.iter().chain(&["sh", "-c", script])).ok();
    let directory = moat.root().join("containers").join(moat.only_container());
    let logs: Vec<_> =
        names_in(&directory).into_iter().filter(|name| name == "log" || name.starts_with("log.")).collect();
    assert_eq!(logs, ["log", "log.1"]);
    let size: u64 = logs.iter().map(|name| directory.join(name).metadata().expect("there").len()).sum();
    assert!(size <= 128 << 10, "{size}");
    let text = moat.run(["logs", "--tail", "2", "box"]).ok();
    assert_eq!(text, "line 19998 of a flood\nline 19999 of a flood\n");
    moat.run(["rm", "box"]).ok();
    moat.assert_clean();
}

/// What is limited takes its time; how much longer it takes is the machine's affair.
#[test]
fn disks_and_network_are_as_fast_as_was_said() {
    let moat = Moat::with(&["busybox"]);
    let limits = ["--network-rate", "512k", "--device-write-bps", "1m", "--device-read-bps", "/dev/vdb:1m"];
    let id = moat.sleeper(&[&["--name", "slow"], &limits[..]].concat());
    let timed = |script: &str| {
        let began = Instant::now();
        moat.run(["exec", "slow", "sh", "-c", script]).ok();
        began.elapsed()
    };
    // A tenth of a second's worth is free.
    let written =
        timed("dd if=/dev/zero of=/file bs=64k count=64 && sync && echo 3 >/proc/sys/vm/drop_caches || sync");
    assert!(written >= Duration::from_millis(3_800), "{written:?}");
    let inspect = |field: &str| moat.run(["inspect", "-f", field, "slow"]).ok();
    let both = r#"[{"Path":"/dev/vda","Rate":1048576},{"Path":"/dev/vdb","Rate":1048576}]"#;
    assert_eq!(inspect("{{json .HostConfig.BlkioDeviceWriteBps}}").trim(), both);
    assert_eq!(
        inspect("{{json .HostConfig.BlkioDeviceReadBps}}").trim(),
        r#"[{"Path":"/dev/vdb","Rate":1048576}]"#
    );
    let address = inspect("{{.NetworkSettings.IPAddress}}");
    let server = ["exec", "-d", "slow", "sh", "-c", "nc -l -p 99 </file"];
    moat.run(server).ok();
    let received = Cell::new(Duration::ZERO);
    eventually("the server takes a connection", || {
        let Ok(mut stream) = TcpStream::connect((address.trim(), 99)) else { return false };
        let began = Instant::now();
        let count = std::io::copy(&mut stream, &mut std::io::sink()).expect("it sends");
        received.set(began.elapsed());
        count == 4 << 20
    });
    // Eight seconds' worth, with headers.
    assert!(received.get() >= Duration::from_millis(7_500), "{:?}", received.get());
    moat.run(["rm", "-f", &id]).ok();
    let refused = ["run", "--device-read-bps", "/dev/sda:1m", "localhost/busybox"];
    moat.run(refused).code(125).says(&["no disk /dev/sda", "/dev/vdb"]);
}

#[test]
fn groups_domain_and_shared_memory_are_seen_inside() {
    let options = [
        "-u",
        "app",
        "--group-add",
        "777",
        "--group-add",
        "nobody",
        "-h",
        "box",
        "--domainname",
        "example.org",
    ];
    let script = "id -G; cat /proc/sys/kernel/domainname; grep -c box.example.org /etc/hosts; hostname";
    let seen = busybox(&[&options[..], &["--ipc", "none"]].concat(), &["sh", "-c", script]).ok();
    let lines: Vec<&str> = seen.lines().collect();
    // The user's own group of the image is among them.
    assert_eq!((lines[0], lines[1], lines[3]), ("1000 777 2000 65534", "example.org", "box"), "{seen}");
    assert_ne!(lines[2], "0", "{seen}");
    busybox(&["--ipc", "none"], &["grep", "/dev/shm", "/proc/mounts"]).code(1);
    busybox(&["--group-add", "nowhere"], &["true"]).code(125).says(&["unable to find group nowhere"]);
    let hidden =
        busybox(&["--security-opt", "systempaths=unconfined"], &["sh", "-c", "grep -c /proc/ /proc/mounts"]);
    assert_eq!(hidden.stdout, b"0\n");
}

#[test]
fn one_stream_is_connected() {
    let script = ["sh", "-c", "echo out; echo err >&2"];
    let out = busybox(&["-a", "stdout"], &script).code(0);
    assert_eq!((out.text(), out.stderr.as_str()), ("out\n", ""));
    let error = busybox(&["--attach=STDERR"], &script).code(0);
    assert_eq!((error.text(), error.stderr.as_str()), ("", "err\n"));
    busybox(&["-a", "stdout", "-d"], &script).code(125).says(&["cannot specify both --attach and --detach"]);
}

#[test]
fn a_flag_behind_the_image_is_the_program() {
    busybox(&[], &["-d"]).code(127).says(&["'-d' stands after the image", "moat run -d localhost/busybox"]);
}
