//! exec and attach: more processes in a container, and more clients of it.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::support::{Moat, eventually};

#[test]
fn a_command_runs_in_the_container_with_its_own_settings() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box", "-e", "A=1", "-w", "/tmp", "--hostname", "inner"]);
    assert_eq!(
        moat.run(["exec", "box", "sh", "-c", "echo $A $B; pwd; hostname; id -u"]).ok(),
        "1\n/tmp\ninner\n0\n"
    );
    let with = ["exec", "-e", "B=2", "-e", "A", "-w", "/etc", "-u", "65534:65534", "box"];
    let script = ["sh", "-c", "echo $A $B; pwd; id -u; id -g"];
    assert_eq!(moat.run(with.iter().chain(&script)).ok(), "2\n/etc\n65534\n65534\n");
    assert!(
        moat.run(["exec", "box", "ps"]).ok().contains("sleep 100000"),
        "it sees the container's processes"
    );
    let apart = moat.run(["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 5"]).code(5);
    assert_eq!((apart.text(), apart.stderr.as_str()), ("out\n", "err\n"));
    moat.run(["exec", "box", "/nowhere"]).code(127).says(&["/nowhere"]);
    moat.run(["exec", "box", "/etc"]).code(126);
    moat.run(["exec", "-w", "/nowhere", "box", "true"]).code(126).says(&["/nowhere"]);
    moat.run(["exec", "-u", "nobody-at-all", "box", "true"]).code(126).says(&["nobody-at-all"]);
    moat.run(["exec", "box", "sh", "-c", "kill -9 $$"]).code(137);
    moat.run(["exec", "nope", "true"]).code(1).says(&["No such container: nope"]);
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn input_goes_in_and_comes_out_whole() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box"]);
    let data: Vec<u8> = (0..8_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let answer = moat.run_with_input(["exec", "-i", "box", "cat"], data.clone()).code(0);
    assert!(answer.stdout == data, "{} of {} bytes", answer.stdout.len(), data.len());
    assert_eq!(moat.run_with_input(["exec", "-i", "box", "wc", "-c"], vec![0; 1000]).ok().trim(), "1000");
    // Without -i there is no input.
    assert_eq!(moat.run_with_input(["exec", "box", "cat"], vec![1; 10]).ok(), "");
    moat.run(["rm", "-f", "box"]).ok();
}

#[test]
fn commands_run_at_the_same_time_and_in_the_background() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box"]);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let moat = &moat;
                scope.spawn(move || {
                    moat.run(["exec", "box", "sh", "-c", &format!("sleep 0.3; echo {i}")]).ok()
                })
            })
            .collect();
        for (i, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().expect("it ran"), format!("{i}\n"));
        }
    });
    moat.run(["exec", "-d", "box", "sh", "-c", "sleep 0.5; echo done > /done"]).ok();
    eventually("the background command", || moat.run(["exec", "box", "cat", "/done"]).code == 0);
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}

/// stdout and stderr come in the order in which they were written, to the client and in the log.
#[test]
fn output_is_in_order() {
    let moat = Moat::with(&["busybox"]);
    let script = "i=0; while [ $i -lt 200 ]; do echo $i; echo $i >&2; i=$((i+1)); done";
    let expected: String = (0..200).map(|i| format!("{i}\n{i}\n")).collect();
    let both = format!("exec {} \"$@\" 2>&1", crate::support::dist().join("bin/moat").display());
    let merged = |args: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command.env("MOAT_ROOT", moat.root()).args(["-c", &both, "moat"]).args(args);
        crate::support::finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
            .ok()
    };
    assert_eq!(merged(&["run", "--name", "box", "localhost/busybox", "sh", "-c", script]), expected);
    assert_eq!(merged(&["logs", "box"]), expected);
    moat.run(["rm", "box"]).ok();
}

#[test]
fn a_second_client_sees_what_comes_and_can_type() {
    let moat = Moat::with(&["busybox"]);
    moat.run([
        "run",
        "-di",
        "--name",
        "box",
        "localhost/busybox",
        "sh",
        "-c",
        "while read line; do echo got $line; done",
    ])
    .ok();
    for round in 0..2 {
        let mut client = moat
            .command(["attach", "box"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("moat starts");
        let mut stdin = client.stdin.take().expect("a pipe");
        stdin.write_all(b"hello\n").expect("typed");
        let mut line = [0; 10];
        client.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("an answer");
        assert_eq!(&line, b"got hello\n", "round {round}");
        // It leaves, and the container goes on: it was not started with this client.
        client.kill().expect("killed");
        client.wait().expect("reaped");
    }
    assert!(moat.run(["ps"]).ok().contains("box"));
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn a_container_that_ends_takes_its_commands_along() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box"]);
    let mut client = moat
        .command(["exec", "box", "sh", "-c", "echo up; sleep 100000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("moat starts");
    let mut line = [0; 3];
    client.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("output");
    moat.run(["stop", "-t", "0", "box"]).ok();
    assert_eq!(client.wait().expect("it ends").code(), Some(137));
    moat.run(["rm", "box"]).ok();
    moat.assert_clean();
}
