//! The stdio of a process without a terminal.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use moat_protocol::output::Source;
use moat_protocol::{ContainerSpec, ExitStatus, HostMessage};
use moat_test_harness::{Test, tests};

use crate::machine::{Machine, PROCESS, Processors, shell};

pub const TESTS: &[Test] = tests![
    the_three_streams_are_three,
    megabytes_pass_through_unharmed,
    a_host_that_reads_slowly_holds_the_process_back_and_loses_nothing,
    output_that_nobody_wants_breaks_the_pipe,
    a_process_that_closes_stdin_is_told_to_the_host,
    output_outlives_the_process,
    a_user_can_open_its_streams_again,
    both_outputs_come_in_the_order_of_the_writes,
    neither_output_starves_the_other,
];

fn with_stdin(command: &str) -> ContainerSpec {
    ContainerSpec { open_stdin: true, ..shell(command) }
}

fn the_three_streams_are_three() {
    let outcome =
        Machine::boot(|_| {}).run(shell("echo out; echo err >&2; cat; tty; readlink /proc/self/fd/0"));
    assert_eq!(outcome.status, ExitStatus::Code(0));
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\nnot a tty\n/dev/null\n", "err\n"));
}

fn megabytes_pass_through_unharmed() {
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
    while let Some((_, bytes)) = streams.next() {
        got.extend(bytes);
    }
    writer.join().unwrap();
    assert!(got == sent, "{} bytes of {} came back, or others", got.len(), sent.len());
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}

fn a_host_that_reads_slowly_holds_the_process_back_and_loses_nothing() {
    let mut machine = Machine::boot(|_| {});
    let mut streams =
        machine.start(shell("seq 1 200000; echo finished >/tmp/finished; echo end >&2")).unwrap();
    // The output is not read, so the process never gets to its end.
    thread::sleep(std::time::Duration::from_millis(300));
    assert!(!machine.upper().join("tmp/finished").exists());
    let (stdout, stderr) = streams.read_all();
    assert_eq!((stdout.lines().count(), stdout.lines().last()), (200_000, Some("200000")));
    assert_eq!(stderr, "end\n");
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}

fn output_that_nobody_wants_breaks_the_pipe() {
    let mut machine = Machine::boot(|_| {});
    // Both streams break; 128 and SIGPIPE.
    let mut streams = machine.start(shell("yes; code=$?; trap 'exit 7' PIPE; echo >&2; exit $code")).unwrap();
    streams.wait_for("y\n");
    streams.output = None;
    assert!(matches!(machine.exit(), ExitStatus::Code(141 | 7)));
}

fn a_process_that_closes_stdin_is_told_to_the_host() {
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(with_stdin("exec <&-; echo closed; sleep 1000")).unwrap();
    streams.wait_for("closed");
    assert_eq!(streams.stdin.take().unwrap().read(&mut [0; 1]).unwrap(), 0);
    machine.shut_down();
}

fn output_outlives_the_process() {
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(shell("seq 1 9000")).unwrap();
    // The end is told although the output has not been read.
    assert_eq!(machine.exit(), ExitStatus::Code(0));
    assert!(streams.read_all().0.ends_with("\n9000\n"));
    machine.shut_down();
}

fn a_user_can_open_its_streams_again() {
    let spec =
        ContainerSpec { user: "app".to_owned(), ..shell("echo again >/dev/stdout; echo err >/dev/stderr") };
    let outcome = Machine::boot(|_| {}).run(spec);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("again\n", "err\n"));
}

fn both_outputs_come_in_the_order_of_the_writes() {
    let mut machine = Machine::boot_with(|_| {}, Processors::One);
    let command = "n=0; while [ $n -lt 500 ]; do echo out $n; echo err $n >&2; n=$((n+1)); done; \
        grep -E '^(policy|prio)' /proc/self/sched; ulimit -r";
    let mut streams = machine.start(shell(command)).unwrap();
    let mut lines = Vec::new();
    while let Some((source, bytes)) = streams.next() {
        lines.push((source, String::from_utf8(bytes).unwrap()));
    }
    let expected = (0..500)
        .flat_map(|n| [(Source::Stdout, format!("out {n}\n")), (Source::Stderr, format!("err {n}\n"))]);
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(*line, expected);
    }
    // The priority is the agent's alone.
    assert!(lines.len() > 1000);
    assert_eq!(machine.exit(), ExitStatus::Code(0));
}

/// One output that floods does not keep the other from being heard, and closing one is not the end.
fn neither_output_starves_the_other() {
    let mut machine = Machine::boot(|_| {});
    let mut streams = machine.start(shell("yes & sleep 0.3; echo heard >&2; exec >&-; sleep 1000")).unwrap();
    thread::sleep(std::time::Duration::from_millis(600));
    while streams.next().unwrap().0 == Source::Stdout {}
    machine.send(&HostMessage::Signal { process: PROCESS, signal: 9 });
    drop(streams);
    assert_eq!(machine.exit(), ExitStatus::Signal(9));
}
