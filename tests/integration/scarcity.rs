//! A host that has run out of something: a clear error, nothing lost, nothing left.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Answer, Moat, dist, finish};

/// A `moat` command with few descriptors.
fn with_descriptors(moat: &Moat, limit: u32, args: &str) -> Answer {
    let script = format!("ulimit -n {limit}; exec {} {args}", dist().join("bin/moat").display());
    let mut command = Command::new("bash");
    command.env("MOAT_ROOT", moat.root()).args(["-c", &script]);
    finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

#[test]
fn without_descriptors_nothing_is_lost() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["create", "--name", "kept", "localhost/busybox", "echo", "kept"]).ok();
    let mut failures = 0;
    // Each number runs out at another step, of the command or of the monitor that inherits the limit.
    for limit in (6..40).step_by(3) {
        let answer = with_descriptors(&moat, limit, "run --rm localhost/busybox true");
        if answer.code != 0 {
            failures += 1;
            assert_eq!(answer.code, 125, "{limit} descriptors: {}", answer.stderr);
            answer.says(&["moat:"]);
        }
        assert_eq!(moat.containers().len(), 1, "{limit} descriptors");
    }
    assert!(failures > 0, "it was never scarce");
    // One that never ran is not lost because it cannot be started now.
    for limit in (6..40).step_by(3) {
        with_descriptors(&moat, limit, "start kept");
        moat.run(["wait", "kept"]).ok();
    }
    assert_eq!(moat.run(["start", "-a", "kept"]).ok(), "kept\n");
    moat.run(["rm", "kept"]).ok();
    moat.assert_clean();
}

#[test]
fn a_full_disk_stops_what_is_new_and_keeps_what_is_there() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["create", "--name", "kept", "localhost/busybox", "echo", "kept"]).ok();
    // A file system of the root's own, as full as it gets.
    let disk = tempfile::tempdir().expect("a directory");
    let mount =
        |args: &[&str]| assert!(Command::new("mount").args(args).status().expect("mount runs").success());
    let there = disk.path().to_str().expect("a UTF-8 path");
    mount(&["-t", "tmpfs", "-o", "size=64m", "tmpfs", there]);
    let copied = Command::new("cp").args(["-a", &format!("{}/.", moat.root().display()), there]).status();
    assert!(copied.expect("cp runs").success());
    let full = disk.path().join("full");
    let mut file = std::fs::File::create(&full).expect("made");
    while file.write_all(&[0; 4096]).is_ok() {}
    let run = |args: &[&str]| {
        let mut command = Command::new(dist().join("bin/moat"));
        command.env("MOAT_ROOT", disk.path()).args(args);
        finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    };
    let full_up = "No space left on device";
    for (args, reason) in [
        (&["create", "localhost/busybox"][..], full_up),
        (&["start", "kept"], full_up),
        (&["run", "--rm", "localhost/busybox", "true"], full_up),
        // The store is refused before it is tried.
        (&["commit", "kept", "another"], "not enough room in"),
        (&["tag", "localhost/busybox", "localhost/other"], full_up),
        (&["rename", "kept", "other"], full_up),
    ] {
        let answer = run(args);
        assert_ne!(answer.code, 0, "{args:?}");
        answer.says(&[reason]);
    }
    let names = std::fs::read_dir(disk.path().join("names")).expect("a directory of names");
    assert_eq!(names.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>(), ["kept"]);
    drop(file);
    std::fs::remove_file(&full).expect("removed");
    let listed = run(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
    assert_eq!(listed, "kept created\n");
    assert_eq!(run(&["start", "-a", "kept"]).ok(), "kept\n");
    run(&["rm", "-f", "kept"]).code(0);
    assert!(Command::new("umount").arg(there).status().expect("umount runs").success());
    moat.run(["rm", "kept"]).ok();
    moat.assert_clean();
}
