//! `scripts/lib/testbeds.py` with a testbed that is a script: who makes which call, what is shown, and how it ends.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The usual machine has no name; here it is called "first".
const TESTBED: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit
machine=${MOAT_TESTBED_MACHINE:-first}
echo "$machine $*" >>log
[ "$1 $machine" != "up $(cat broken 2>/dev/null)" ] || { echo "no machine"; exit 125; }
[ "$1" = run ] || exit 0
shift 2
export machine
exec "$@"
"#;

/// A test program, whose tests do what their names begin with: one that "meets" waits, halfway through its output, for such
/// a test on the other machine. The filter "nothing" fits none.
const PROGRAM: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit
case " $* " in
*" --list "*)
    [ "$1" != nothing ] || exit 0
    cat "$(basename "$0").tests"
    exit ;;
esac
echo "begin $machine $*"
case " $* " in
*" fails"*) echo "test result: FAILED. 0 passed; 1 failed"; exit 101 ;;
*" meets"*)
    touch "met-$machine"
    tries=0
    until [ -e met-first ] && [ -e met-second ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || exit 1
        sleep 0.05
    done ;;
*" stays"*)
    echo $$ >"stays-$machine.new"
    mv "stays-$machine.new" "stays-$machine"
    exec sleep 1000 ;;
esac
echo "end $machine $*"
"#;

/// A directory with a testbed and the two test programs.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new(single: &[&str], grouped: &[&str]) -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("testbed", TESTBED), ("single", PROGRAM), ("grouped", PROGRAM)] {
            fs::write(stage.path(name), text).unwrap();
            fs::set_permissions(stage.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let list = |names: &[&str]| names.iter().map(|name| format!("{name}: test\n")).collect::<String>();
        fs::write(stage.path("single.tests"), list(single)).unwrap();
        fs::write(stage.path("grouped.tests"), list(grouped)).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, words: &[&str]) -> Child {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/testbeds.py");
        let mut command = Command::new("python3");
        command.arg("-B").arg(program).arg("--testbed").arg(self.path("testbed"));
        command.arg("--single").arg(self.path("single")).arg("--grouped").arg(self.path("grouped"));
        command.arg("--").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("this test needs python3")
    }

    /// Runs it to its end: the exit status and the lines of its output.
    fn run(&self, words: &[&str]) -> (i32, Vec<String>) {
        ended(self.start(words).wait_with_output().unwrap())
    }

    /// What was asked of the testbed, without directories, sorted.
    fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let directory = format!("{}/", self.0.path().display());
        let mut lines: Vec<_> = log.lines().map(|line| line.replace(&directory, "")).collect();
        lines.sort();
        lines
    }

    /// The commands that ran, wherever they ran.
    fn calls(&self) -> Vec<String> {
        let call = |line: &String| line.split_once(" run -- ").map(|(_, call)| call.to_owned());
        let mut calls: Vec<_> = self.asked().iter().filter_map(call).collect();
        calls.sort();
        calls
    }
}

fn ended(output: Output) -> (i32, Vec<String>) {
    let code = output.status.code().unwrap_or_else(|| panic!("{output:?}"));
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (code, text.lines().map(str::to_owned).collect())
}

#[test]
fn each_test_runs_once_and_a_few_share_a_call() {
    let stage = Stage::new(&["s1", "s2"], &["g1", "g2", "g3", "g4", "g5"]);
    let (code, lines) = stage.run(&["filter", "--include-ignored"]);
    assert_eq!(code, 0, "{lines:?}");
    let calls = [
        "grouped --include-ignored --exact g1 g2 g3 g4",
        "grouped --include-ignored --exact g5",
        "single --exact s1",
        "single --exact s2",
    ];
    assert_eq!(stage.calls(), calls);
    let others: Vec<_> = stage.asked().into_iter().filter(|line| !line.contains(" run ")).collect();
    assert_eq!(others, ["first up", "second down", "second up"]);
}

#[test]
fn both_machines_work_at_once_and_output_stays_whole() {
    let stage = Stage::new(&["meets-1", "meets-2"], &["g1"]);
    let (code, lines) = stage.run(&[]);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.len(), 6);
    for call in lines.chunks(2) {
        assert_eq!(call[0].strip_prefix("begin "), call[1].strip_prefix("end "), "{lines:?}");
    }
    for machine in ["first", "second"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("begin {machine} --exact meets-"))));
    }
}

#[test]
fn a_failure_is_told_and_keeps_no_other_test_from_running() {
    let stage = Stage::new(&["fails", "s2"], &["g1"]);
    let (code, lines) = stage.run(&[]);
    assert_eq!(code, 1, "{lines:?}");
    assert_eq!(stage.calls(), ["grouped --exact g1", "single --exact fails", "single --exact s2"]);
    assert!(lines.iter().any(|line| line == "test result: FAILED. 0 passed; 1 failed"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("testbeds: exit status 101: ")), "{lines:?}");
    assert!(stage.asked().contains(&"second down".to_owned()));
}

#[test]
fn a_machine_that_does_not_start_is_a_failure_and_the_other_makes_all_calls() {
    let stage = Stage::new(&["s1", "s2"], &["g1"]);
    fs::write(stage.path("broken"), "second").unwrap();
    let (code, lines) = stage.run(&[]);
    assert_eq!(code, 1, "{lines:?}");
    assert!(lines.contains(&"no machine".to_owned()), "{lines:?}");
    assert_eq!(stage.calls().len(), 3);
    assert!(!stage.asked().iter().any(|line| line.starts_with("second run")));
}

#[test]
fn filters_that_fit_no_test_are_told() {
    let stage = Stage::new(&["s1"], &["g1"]);
    let (code, lines) = stage.run(&["nothing"]);
    assert_eq!(code, 1);
    assert!(lines.last().unwrap().ends_with("grouped lists no test for: nothing"), "{lines:?}");
    assert_eq!(stage.asked(), Vec::<String>::new());
}

#[test]
fn an_interruption_ends_what_is_running_and_starts_nothing_more() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let stage = Stage::new(&["stays-1", "stays-2", "s3"], &["g1"]);
        let scheduler = stage.start(&[]);
        let files = ["stays-first", "stays-second"].map(|name| stage.path(name));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !files.iter().all(|file| file.exists()) {
            assert!(Instant::now() < deadline, "the calls do not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill(Pid::from_raw(scheduler.id().cast_signed()), signal).unwrap();
        let (code, lines) = ended(scheduler.wait_with_output().unwrap());
        assert_eq!(code, 128 + signal as i32, "{lines:?}");
        for file in files {
            let pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
            assert_eq!(kill(Pid::from_raw(pid), None), Err(nix::Error::ESRCH));
        }
        assert_eq!(stage.calls(), ["single --exact stays-1", "single --exact stays-2"]);
        assert!(stage.asked().contains(&"second down".to_owned()));
        assert!(!lines.iter().any(|line| line.contains("Traceback")), "{lines:?}");
    }
}
