//! Whole stories, as people live them.

use crate::support::Moat;

/// It ends at once: why?
#[test]
fn a_container_that_ends_at_once_is_looked_into() {
    let moat = Moat::with(&["busybox"]);
    moat.run([
        "run",
        "-d",
        "--name",
        "app",
        "localhost/busybox",
        "sh",
        "-c",
        "echo starting; echo boom >&2; echo half > /root/state; exit 3",
    ])
    .ok();
    assert_eq!(moat.run(["wait", "app"]).ok(), "3\n");
    assert!(moat.run(["ps", "-a"]).ok().contains("Exited (3)"));
    let logs = moat.run(["logs", "app"]).code(0);
    assert_eq!((logs.text(), logs.stderr.as_str()), ("starting\n", "boom\n"));
    assert_eq!(
        moat.run(["inspect", "--format", "{{.State.ExitCode}} {{.Path}} {{join .Args \" \"}}", "app"])
            .ok()
            .lines()
            .next(),
        Some("3 sh -c echo starting; echo boom >&2; echo half > /root/state; exit 3")
    );
    assert!(moat.run(["diff", "app"]).ok().contains("A /root/state"));
    moat.run(["exec", "app", "ps"]).code(1).says(&["app", "is not running"]);
    // Its files, without running it.
    let tar = tempfile::NamedTempFile::new().expect("a file");
    let to = tar.path().to_str().expect("UTF-8").to_owned();
    moat.run(["export", "-o", &to, "app"]).ok();
    let listed =
        std::process::Command::new("tar").args(["-xOf", &to, "root/state"]).output().expect("tar runs");
    assert_eq!(listed.stdout, b"half\n");
    // Another entry point, on the same image.
    let inside = ["run", "--rm", "-i", "--entrypoint", "/bin/sh", "localhost/busybox"];
    let answer = moat.run_with_input(inside, b"test -e /root/state || echo fresh\n".to_vec());
    assert_eq!(answer.ok(), "fresh\n");
    moat.run(["rm", "app"]).ok();
    moat.assert_clean();
}

/// Numbers of what runs.
#[test]
fn what_runs_is_watched() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["run", "-d", "--name", "busy", "localhost/busybox", "sh", "-c", "while true; do true; done"])
        .ok();
    let stats = moat
        .run(["stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}", "busy"])
        .ok();
    let words: Vec<&str> = stats.split_whitespace().collect();
    assert_eq!(words[0], "busy", "{stats}");
    let percent: f64 = words[1].trim_end_matches('%').parse().expect("a number");
    assert!(percent > 20.0, "a busy loop uses its processor: {stats}");
    assert!(words[2].ends_with("iB") && stats.contains("512MiB") || stats.contains("MiB"), "{stats}");
    let top = moat.run(["top", "busy"]).ok();
    assert!(top.starts_with("UID") && top.contains("while true"), "{top}");
    assert!(moat.run(["top", "busy", "aux"]).ok().starts_with("USER"));
    let ps = moat.run(["exec", "busy", "ps"]).ok();
    assert!(ps.contains("while true"), "{ps}");
    moat.run(["rm", "-f", "busy"]).ok();
    moat.assert_clean();
}

/// A file is written; stop, start: it is there. Commit, run that: it is there. Remove: it is gone.
#[test]
fn what_is_written_stays_as_long_as_it_should() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box", "--stop-timeout", "0"]);
    moat.run(["exec", "box", "sh", "-c", "echo precious > /data; ln /data /other; rm /etc/group"]).ok();
    moat.run(["stop", "box"]).ok();
    moat.run(["start", "box"]).ok();
    assert_eq!(moat.run(["exec", "box", "cat", "/data"]).ok(), "precious\n");
    let id = moat
        .run(["commit", "-m", "with data", "-c", "CMD [\"cat\", \"/data\"]", "box", "localhost/with-data:1"])
        .ok();
    assert!(id.starts_with("sha256:"), "{id}");
    moat.run(["rm", "-f", "box"]).ok();
    assert_eq!(moat.run(["run", "--rm", "localhost/with-data:1"]).ok(), "precious\n");
    let look = "test /data -ef /other && echo one; test -e /etc/group || echo gone";
    assert_eq!(moat.run(["run", "--rm", "localhost/with-data:1", "sh", "-c", look]).ok(), "one\ngone\n");
    let history = moat.run(["history", "--format", "{{.Comment}}", "localhost/with-data:1"]).ok();
    assert_eq!(history.lines().next(), Some("with data"));
    assert_eq!(
        moat.run(["run", "--rm", "localhost/busybox", "sh", "-c", "test -e /data || echo gone"]).ok(),
        "gone\n"
    );
    moat.run(["rmi", "localhost/with-data:1"]).ok();
    moat.assert_clean();
}

/// A gigabyte goes in and comes out.
#[test]
#[ignore = "a long story"]
fn a_gigabyte_through_exec() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box"]);
    let moat_program = crate::support::dist().join("bin/moat");
    let script = format!(
        "set -o pipefail; openssl enc -aes-128-ctr -pass pass:x -nosalt < <(head -c 1073741824 /dev/zero) 2>/dev/null | tee >(sha256sum >&2) | {} exec -i box cat | sha256sum",
        moat_program.display()
    );
    let mut command = std::process::Command::new("bash");
    command.env("MOAT_ROOT", moat.root()).args(["-c", &script]);
    let output = command.output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        "in and out differ"
    );
    moat.run(["rm", "-f", "box"]).ok();
}
