//! Execs by their ids, as a face of the engine uses them that is not the command line: one process starts, others resize,
//! wait and ask.

use moat_engine::exec::{ExecId, ExecRequest};
use moat_engine::session::{AttachOptions, End, Opened, TerminalSize};
use moat_engine::{Engine, ErrorKind, Root};

use crate::support::Moat;

fn engine(moat: &Moat) -> Engine {
    Engine::open(Root::open(moat.root()).expect("the root")).expect("an engine")
}

fn shell(script: &str) -> ExecRequest {
    let args = ["sh", "-c", script].map(str::to_owned).to_vec();
    ExecRequest { args, output: true, ..ExecRequest::default() }
}

fn read_all(session: &mut moat_engine::session::Session) -> String {
    let Opened::Running(streams) = session.open().expect("a session") else { panic!("it does not run") };
    let mut output = streams.output.expect("its output");
    let mut text = Vec::new();
    while let Some((_, bytes)) = output.next_piece().expect("output") {
        text.extend_from_slice(bytes);
    }
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn any_process_starts_waits_for_and_asks_about_an_exec() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box"]);
    let id = {
        let engine = engine(&moat);
        engine
            .exec_create(&engine.find("box").expect("the container"), shell("echo out; exit 7"))
            .expect("an id")
    };
    let before = engine(&moat).exec_inspect(&id).expect("an exec");
    assert_eq!(
        (before.running, before.exit_code, before.process.args[2].as_str()),
        (false, None, "echo out; exit 7")
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| engine(&moat).exec_wait(&id).expect("its end"));
        let starter = engine(&moat);
        let options = AttachOptions { output: true, ..AttachOptions::default() };
        let mut session = starter.exec_start(&id, &options).expect("a session");
        assert_eq!(read_all(&mut session), "out\n");
        assert_eq!(session.wait().expect("its end"), End::Exited { code: 7, error: None });
        assert_eq!(waiting.join().expect("the waiter").exit_code, Some(7));
    });
    // Its end is known afterwards, and it runs once.
    assert_eq!(engine(&moat).exec_inspect(&id).expect("an exec").exit_code, Some(7));
    let again = engine(&moat).exec_start(&id, &AttachOptions::default()).expect("a session").started();
    assert_eq!(again.expect_err("a refusal").kind(), ErrorKind::Conflict);
    let told = moat.run(["events", "--since", "1h", "--until", "0s", "--format", "{{json .}}"]).ok();
    for action in ["exec_create: sh -c echo out; exit 7", "exec_start: sh -c echo out; exit 7", "exec_die"] {
        let line =
            told.lines().find(|line| line.contains(action)).unwrap_or_else(|| panic!("{action} in {told}"));
        assert!(line.contains(id.as_str()), "{line}");
    }
    moat.run(["rm", "-f", "box"]).ok();
    let gone = engine(&moat).exec_inspect(&id).expect_err("gone with its container");
    assert_eq!(
        (gone.kind(), gone.to_string()),
        (ErrorKind::NotFound, format!("No such exec instance: {id}"))
    );
    moat.assert_clean();
}

#[test]
fn a_terminal_is_resized_by_another_process() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box"]);
    let engine = engine(&moat);
    let request = ExecRequest {
        terminal: true,
        ..shell("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done")
    };
    let id = engine.exec_create(&engine.find("box").expect("the container"), request).expect("an id");
    let early = engine.exec_resize(&id, TerminalSize { rows: 1, columns: 1 }).expect_err("not yet");
    assert_eq!(early.kind(), ErrorKind::Conflict);
    let size = Some(TerminalSize { rows: 24, columns: 80 });
    let mut session =
        engine.exec_start(&id, &AttachOptions { stdin: false, output: true, size }).expect("a session");
    let Opened::Running(streams) = session.open().expect("a session") else { panic!("it does not run") };
    let mut output = streams.output.expect("its output");
    let mut text = String::new();
    while let Some((_, bytes)) = output.next_piece().expect("output") {
        text.push_str(std::str::from_utf8(bytes).expect("UTF-8"));
        if text.contains("ready") && !text.contains("33 111") {
            engine.exec_resize(&id, TerminalSize { rows: 33, columns: 111 }).expect("a new size");
        }
    }
    assert!(text.contains("33 111"), "{text}");
    moat.run(["rm", "-f", "box"]).ok();
}

#[test]
fn what_cannot_be_started_and_what_never_was_is_told() {
    let moat = Moat::with(&["busybox"]);
    let container = moat.sleeper(&["--name", "box"]);
    let engine = engine(&moat);
    let mut missing = shell("");
    missing.args = vec!["/nowhere".to_owned()];
    let id = engine.exec_create(&engine.find("box").expect("the container"), missing).expect("an id");
    let end =
        engine.exec_start(&id, &AttachOptions::default()).expect("a session").started().expect("an answer");
    assert!(matches!(end, Some(End::Failed { code: 127, .. })), "{end:?}");
    assert_eq!(engine.exec_wait(&id).expect("its end").exit_code, Some(127));
    // One that looks as if it were the container's, and one that does not.
    for unknown in [format!("{}{}", &container[..16], "0".repeat(48)), "f".repeat(64)] {
        let unknown: ExecId = unknown.parse().expect("an id");
        assert_eq!(engine.exec_wait(&unknown).expect_err("none").kind(), ErrorKind::NotFound);
    }
    moat.run(["rm", "-f", "box"]).ok();
}
