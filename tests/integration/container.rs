//! Containers that outlive the command that made them: `run -d`, `ps`, `logs`, `rm`, names and ids.

use crate::support::{Moat, eventually, shared};

#[test]
fn a_detached_container_is_listed_logged_and_removed() {
    let moat = Moat::with(&["busybox"]);
    let script = "echo one; echo two >&2; echo three";
    let id = moat.run(["run", "-d", "--name", "talker", "localhost/busybox", "sh", "-c", script]).ok();
    let id = id.trim();
    assert_eq!(id.len(), 64, "{id}");
    eventually("the container to end", || moat.run(["ps", "-q"]).ok().is_empty());

    let table = moat.run(["ps", "-a"]).ok();
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().expect("a header").split_whitespace().collect();
    assert_eq!(header, ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    let line = lines.next().expect("a container");
    for part in [&id[..12], "localhost/busybox", "\"sh -c 'echo one; ec…\"", "Exited (0)", "talker"] {
        assert!(line.contains(part), "{part:?} is missing: {line}");
    }

    let logs = moat.run(["logs", "talker"]).code(0);
    assert_eq!((logs.text(), logs.stderr.as_str()), ("one\nthree\n", "two\n"));
    // Which of two streams is read first when both have something is left open, so either can hold the last line.
    let last = moat.run(["logs", "--tail", "1", "talker"]).code(0);
    assert!(matches!((last.text(), last.stderr.as_str()), ("three\n", "") | ("", "two\n")), "{last:?}");
    let stamped = moat.run(["logs", "-t", &id[..12]]).ok();
    let (time, rest) = stamped.lines().next().expect("a line").split_once(' ').expect("a time");
    assert_eq!(rest, "one");
    assert!(time.ends_with('Z') && time.contains('T') && time.len() == 30, "{time}");

    assert_eq!(moat.run(["rm", "talker"]).ok(), "talker\n");
    moat.run(["rm", "talker"]).code(1).says(&["No such container: talker"]);
    moat.run(["rm", "-fv", "talker"]).code(0).says(&["No such container: talker"]);
    moat.run(["logs", "talker"]).code(1).says(&["No such container: talker"]);
    moat.assert_clean();
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    let moat = Moat::with(&["busybox"]);
    let id = moat.sleeper(&["--name", "sleeper"]);
    assert!(moat.run(["ps"]).ok().contains("Up "), "it runs");
    moat.run(["rm", "sleeper"]).code(1).says(&["container is running"]);
    assert_eq!(moat.containers(), std::slice::from_ref(&id));
    assert_eq!(moat.run(["rm", "-f", &id[..6]]).ok(), format!("{}\n", &id[..6]));
    moat.assert_clean();
}

#[test]
fn a_name_is_taken_once() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["run", "--name", "once", "localhost/busybox", "true"]).ok();
    moat.run(["run", "--name", "once", "localhost/busybox", "true"]).code(125).says(&[
        "Conflict",
        "\"/once\"",
        "already in use",
    ]);
    moat.run(["run", "--name", "-bad", "localhost/busybox", "true"]).code(125);
    moat.run(["run", "--name", "../x", "localhost/busybox", "true"])
        .code(125)
        .says(&["Invalid container name"]);
    assert_eq!(moat.containers().len(), 1);
    moat.run(["rm", "once"]).ok();
    moat.run(["run", "--rm", "--name", "once", "localhost/busybox", "true"]).ok();
    moat.assert_clean();
}

#[test]
fn a_failed_start_is_kept_without_rm_and_gone_with_it() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["run", "--name", "broken", "localhost/busybox", "no-such-command"]).code(127);
    let table = moat.run(["ps", "-a"]).ok();
    assert!(table.contains("Created") && table.contains("broken"), "{table}");
    moat.run(["rm", "broken"]).ok();
    moat.run(["run", "--rm", "localhost/busybox", "no-such-command"]).code(127);
    moat.assert_clean();
}

#[test]
fn logs_follow_until_the_end() {
    let moat = shared();
    let script = "for i in 1 2 3; do echo $i; sleep 1; done";
    moat.run(["run", "-d", "--name", "counter", "localhost/busybox", "sh", "-c", script]).ok();
    assert_eq!(moat.run(["logs", "-f", "counter"]).ok(), "1\n2\n3\n");
    moat.run(["rm", "-f", "counter"]).ok();
}

#[test]
fn a_flood_of_output_is_bounded_on_disk() {
    let moat = Moat::with(&["busybox"]);
    moat.run([
        "run",
        "-d",
        "--name",
        "flood",
        "localhost/busybox",
        "sh",
        "-c",
        "yes 0123456789abcdef | head -c 44200000",
    ])
    .ok();
    eventually("the flood to end", || moat.run(["ps", "-q"]).ok().is_empty());
    let id = moat.only_container();
    let directory = moat.root().join("containers").join(id);
    let size: u64 = crate::support::names_in(&directory)
        .iter()
        .filter(|name| name.starts_with("log"))
        .map(|name| std::fs::metadata(directory.join(name)).expect("a log").len())
        .sum();
    assert!((10 << 20..=30 << 20).contains(&size), "{size} bytes of logs");
    assert_eq!(moat.run(["logs", "--tail", "2", "flood"]).ok(), "0123456789abcdef\n".repeat(2));
    moat.run(["rm", "flood"]).ok();
}

#[test]
fn an_image_in_use_is_not_removed() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["run", "--name", "user", "localhost/busybox", "true"]).ok();
    let id = moat.run(["images", "-q", "--no-trunc"]).ok();
    moat.run(["rmi", id.trim()]).code(1).says(&["conflict"]);
    moat.run(["rm", "user"]).ok();
    moat.run(["rmi", "localhost/busybox"]).ok();
    assert_eq!(moat.run(["images", "-q"]).ok(), "");
    assert_eq!(crate::support::names_in(&moat.root().join("indexes")), Vec::<String>::new());
}
