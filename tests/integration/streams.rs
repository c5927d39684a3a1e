//! Stdio: nothing lost, nothing reordered, nothing grows.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::support::{busybox, monitor_of, shared};

/// Bytes that repeat late and hold every value.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

#[test]
fn stdin_is_carried_byte_for_byte() {
    let input = noise(5 << 20);
    let answer =
        shared().run_with_input(["run", "--rm", "-i", "localhost/busybox", "cat"], input.clone()).code(0);
    assert!(answer.stdout == input, "{} bytes of {} came back, or others", answer.stdout.len(), input.len());
}

#[test]
fn an_end_of_file_reaches_the_process() {
    let answer =
        shared().run_with_input(["run", "--rm", "-i", "localhost/busybox", "wc", "-c"], b"12345".to_vec());
    assert_eq!(answer.ok().trim(), "5");
}

#[test]
fn without_i_stdin_is_empty() {
    let answer = shared().run_with_input(["run", "--rm", "localhost/busybox", "wc", "-c"], b"12345".to_vec());
    assert_eq!(answer.ok().trim(), "0");
}

#[test]
fn stdout_and_stderr_are_apart() {
    let answer = busybox(&[], &["sh", "-c", "echo out; echo err >&2; exit 3"]).code(3);
    assert_eq!((answer.text(), answer.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn a_process_that_reads_nothing_ends_all_the_same() {
    shared().run_with_input(["run", "--rm", "-i", "localhost/busybox", "true"], noise(1 << 20)).code(0);
}

#[test]
fn a_slow_reader_slows_the_writer_and_grows_nothing() {
    let moat = shared();
    let name = "slow-reader";
    let mut child = moat
        .command(["run", "--name", name, "localhost/busybox", "sh", "-c", "yes | head -c 20000000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("moat starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut byte = [0];
    stdout.read_exact(&mut byte).expect("output");
    let id = moat.run(["ps", "-q", "--no-trunc"]).ok().lines().next().expect("it runs").to_owned();
    let monitor = monitor_of(&id);
    // The client does not read for a while; what is under way can only be what sockets hold.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let resident = resident_kib(monitor);
    assert!(resident < 16 << 10, "the monitor holds {resident} KiB");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("output");
    assert_eq!(rest.len() + 1, 20_000_000);
    assert!(child.wait().expect("it ends").success());
    moat.run(["rm", name]).ok();
}

fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

#[test]
fn a_closed_stdout_does_not_hang_the_client() {
    let mut child = shared()
        .command(["run", "--rm", "localhost/busybox", "sh", "-c", "yes | head -c 1000000; exit 7"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("moat starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(7));
}

#[test]
fn a_conversation_goes_back_and_forth() {
    let mut child = shared()
        .command([
            "run",
            "--rm",
            "-i",
            "localhost/busybox",
            "sh",
            "-c",
            "while read line; do echo \"got $line\"; done",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("moat starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    for word in ["one", "two", "three"] {
        writeln!(stdin, "{word}").expect("written");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("an answer");
        assert_eq!(line, format!("got {word}\n"));
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}
