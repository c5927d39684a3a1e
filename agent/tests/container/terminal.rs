//! A process with a terminal.

use std::net::Shutdown;

use moat_protocol::{ContainerSpec, ExitStatus, HostMessage, ProcessId, TerminalSize};
use moat_test_harness::{Test, tests};
use oci_spec::runtime::BoxBuilder;

use crate::machine::{Machine, PROCESS, shell};

pub const TESTS: &[Test] = tests![
    the_terminal_is_the_controlling_one_and_has_its_size,
    sizes_and_control_characters_reach_the_process,
    the_end_of_input_is_typed,
    a_host_that_closes_the_terminal_hangs_up,
    a_terminal_without_stdin_waits_for_nobody,
];

fn terminal(command: &str) -> ContainerSpec {
    let mut spec = ContainerSpec { open_stdin: true, ..shell(command) };
    spec.process.set_terminal(Some(true));
    spec.process.set_console_size(Some(BoxBuilder::default().height(33u64).width(101u64).build().unwrap()));
    spec
}

fn the_terminal_is_the_controlling_one_and_has_its_size() {
    let command = "tty; stty size; stat -c '%t:%T' /dev/console; stat -c '%u %a' $(tty); echo hi >/dev/tty; \
        echo there >/dev/console; ls -1 /dev/pts";
    let mut spec = terminal(command);
    spec.user = "app".to_owned();
    let output = Machine::boot(|_| {}).run(spec).output().replace('\r', "");
    assert_eq!(output, "/dev/pts/0\n33 101\n88:0\n1000 620\nhi\n0\nptmx\n".replace("hi\n", "hi\nthere\n"));
}

fn sizes_and_control_characters_reach_the_process() {
    let mut machine = Machine::boot(|_| {});
    let command = "trap 'stty size' WINCH; trap 'echo interrupted' INT; trap 'exit 5' QUIT; echo ready; while :; do sleep 0.05; done";
    let mut streams = machine.start(terminal(command)).unwrap();
    streams.wait_for("ready");
    machine.send(&HostMessage::Resize { process: ProcessId(77), size: TerminalSize { rows: 1, columns: 1 } });
    machine.send(&HostMessage::Resize { process: PROCESS, size: TerminalSize { rows: 12, columns: 34 } });
    streams.wait_for("12 34");
    streams.type_in("\x03");
    streams.wait_for("interrupted");
    streams.type_in("\x1c");
    assert_eq!(machine.exit(), ExitStatus::Code(5));
}

fn the_end_of_input_is_typed() {
    for text in ["", "line\n", "no newline"] {
        let mut machine = Machine::boot(|_| {});
        let mut streams = machine.start(terminal("stty -echo; echo ready; cat; echo end")).unwrap();
        streams.wait_for("ready");
        streams.type_in(text);
        streams.stdin.as_ref().unwrap().shutdown(Shutdown::Write).unwrap();
        let seen = streams.wait_for("end");
        assert!(seen.contains(text.trim_end()), "{seen:?}");
        assert_eq!(machine.exit(), ExitStatus::Code(0));
    }
}

fn a_host_that_closes_the_terminal_hangs_up() {
    let mut machine = Machine::boot(|_| {});
    let command = "trap 'exit 3' HUP; echo ready; while :; do sleep 0.05; done";
    let mut streams = machine.start(terminal(command)).unwrap();
    streams.wait_for("ready");
    drop(streams);
    assert_eq!(machine.exit(), ExitStatus::Code(3));
}

fn a_terminal_without_stdin_waits_for_nobody() {
    let spec = ContainerSpec { open_stdin: false, ..terminal("test -t 0 && echo yes") };
    assert_eq!(Machine::boot(|_| {}).run(spec).output(), "yes\r\n");
}
