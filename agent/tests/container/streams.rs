//! The stdio of a process without a terminal.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use moat_protocol::{ContainerSpec, ExitStatus};

use crate::machine::{Machine, has_root, shell};

fn with_stdin(command: &str) -> ContainerSpec {
    ContainerSpec { open_stdin: true, ..shell(command) }
}

#[test]
fn the_three_streams_are_three() {
    if !has_root() {
        return;
    }
    let outcome =
        Machine::boot(|_| {}).run(shell("echo out; echo err >&2; cat; tty; readlink /proc/self/fd/0"));
    assert_eq!(outcome.status, ExitStatus::Code(0));
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\nnot a tty\n/dev/null\n", "err\n"));
}

#[test]
fn megabytes_pass_through_unharmed() {
    if !has_root() {
        return;
    }
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(with_stdin("cat")).unwrap();
    let mut stdin = streams.stdin.take().unwrap();
    let sent: Vec<u8> =
        (0..8_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let copy = sent.clone();
    let writer = thread::spawn(move || {
        stdin.write_all(&copy).unwrap();
        stdin.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    streams.stdout.take().unwrap().read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == sent, "{} bytes of {} came back, or others", got.len(), sent.len());
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}

#[test]
fn a_host_that_reads_slowly_holds_the_process_back_and_loses_nothing() {
    if !has_root() {
        return;
    }
    let mut machine = Machine::boot(|_| {});
    let command = "seq 1 200000; echo finished >&2";
    let mut streams = machine.start(shell(command)).unwrap();
    // Nobody reads stdout. stderr is another stream and not held back, but the process never gets there.
    streams.stderr.as_mut().unwrap().set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    assert!(streams.stderr.as_mut().unwrap().read(&mut [0; 16]).is_err());
    let mut text = String::new();
    streams.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.lines().count(), text.lines().last()), (200_000, Some("200000")));
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}

#[test]
fn output_that_nobody_wants_breaks_the_pipe() {
    if !has_root() {
        return;
    }
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(shell("yes; echo $? >&2")).unwrap();
    streams.wait_for("y\n");
    streams.stdout = None;
    let mut text = String::new();
    streams.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    // 128 and SIGPIPE.
    assert_eq!(text, "141\n");
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}

#[test]
fn a_process_that_closes_stdin_is_told_to_the_host() {
    if !has_root() {
        return;
    }
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(with_stdin("exec <&-; echo closed; sleep 1000")).unwrap();
    streams.wait_for("closed");
    assert_eq!(streams.stdin.take().unwrap().read(&mut [0; 1]).unwrap(), 0);
    machine.shut_down();
}

#[test]
fn output_outlives_the_process() {
    if !has_root() {
        return;
    }
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(shell("seq 1 9000")).unwrap();
    // The end is told although the output has not been read.
    assert_eq!(machine.exit(), ExitStatus::Code(0));
    let mut text = String::new();
    streams.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\n9000\n"));
    machine.shut_down();
}

#[test]
fn a_user_can_open_its_streams_again() {
    if !has_root() {
        return;
    }
    let spec =
        ContainerSpec { user: "app".to_owned(), ..shell("echo again >/dev/stdout; echo err >/dev/stderr") };
    let outcome = Machine::boot(|_| {}).run(spec);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("again\n", "err\n"));
}
