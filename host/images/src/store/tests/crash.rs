//! Commands that are killed at every step of what they do. The next command finds the store as it was before or as it was
//! to be, and nothing beside.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, raise};

use super::fixture::*;
use super::formats::make_old;
use crate::store::StoreError;

/// What a killed process is to do, at which step it is killed, and where the store is.
const SCENARIO: &str = "MOAT_TEST_SCENARIO";
const KILLED_AT: &str = "MOAT_TEST_KILLED_AT";
const ROOT: &str = "MOAT_TEST_ROOT";

/// More steps than any change has.
const MOST_STEPS: usize = 200;

/// Counts the places where a test kills the process, and does so when it is time.
pub(in crate::store) fn step() {
    static KILLED: OnceLock<Option<usize>> = OnceLock::new();
    static STEPS: AtomicUsize = AtomicUsize::new(1);
    let killed_at = || std::env::var(KILLED_AT).ok().and_then(|step| step.parse().ok());
    if let Some(last) = *KILLED.get_or_init(killed_at)
        && STEPS.fetch_add(1, Ordering::Relaxed) == last
    {
        let _ = raise(Signal::SIGKILL);
    }
}

/// What the commands are that are killed.
const SCENARIOS: [&str; 9] =
    ["load", "move", "pull", "pull again", "tag", "untag", "remove", "remove by id", "take over"];

/// Makes the store in which a scenario begins.
fn prepare(root: &Path, scenario: &str) {
    if scenario == "take over" {
        return make_old(root);
    }
    let fixture = Fixture::at(root);
    let shared = layer("shared");
    fixture.load(&docker(&["a:1", "a:2"], &[&shared, &layer("a")])).unwrap();
    fixture.load(&docker(&["b"], &[&shared, &layer("b")])).unwrap();
    fixture.load(&docker(&[], &[&layer("c")])).unwrap();
    pull(&fixture, "r.example/x", &layer("x"), &gzip(&layer("x")));
}

/// Does what a scenario is about.
fn act(root: &Path, scenario: &str) {
    let fixture = Fixture::at(root);
    let remove = |name: &str| fixture.store.remove::<StoreError>(name, true, |_| Ok(Vec::new())).unwrap();
    match scenario {
        // Of three images one is new, one gets the only name of another, one gets the name that it had not.
        "load" => {
            let archive = docker_of(&[
                (&["new"], &[&layer("shared"), &layer("new")]),
                (&["b", "d"], &[&layer("d")]),
                (&["c"], &[&layer("c")]),
            ]);
            drop(fixture.load(&archive).unwrap());
        }
        "move" => drop(fixture.store.tag("a:1", &"b".parse().unwrap()).unwrap()),
        "pull" => drop(pull(&fixture, "r.example/y", &layer("y"), &gzip(&layer("y")))),
        "pull again" => drop(pull(&fixture, "r.example/x", &layer("x"), &zstd(&layer("x")))),
        "tag" => drop(fixture.store.tag("a:1", &"new/repository:1".parse().unwrap()).unwrap()),
        "untag" => drop(remove("a:1")),
        "remove" => drop(remove("r.example/x")),
        "remove by id" => drop(remove(&fixture.store.resolve("a:1").unwrap().id.to_string())),
        // Opening it was all.
        _ => {}
    }
}

/// What is seen of a store, and its files.
#[derive(Debug, PartialEq)]
struct Seen {
    images: BTreeMap<String, Vec<String>>,
    files: BTreeSet<PathBuf>,
}

/// Opens a store, as the next command does, and looks at it.
fn look(root: &Path) -> Seen {
    let fixture = Fixture::at(root);
    let faults = fixture.store.check().unwrap().faults;
    assert_eq!(faults, [""; 0]);
    let mut images = BTreeMap::new();
    for image in fixture.store.list().unwrap() {
        let names = image.references.iter().chain(&image.repo_digests);
        for name in image.references.iter().chain(&image.repo_digests) {
            assert_eq!(fixture.store.resolve(&name.to_string()).unwrap().id, image.id, "{name}");
        }
        images.insert(image.id.to_string(), names.map(ToString::to_string).collect());
    }
    let mut files: BTreeSet<PathBuf> = fixture.files().into_iter().collect();
    // What an interrupted pull has fetched stays for the next one.
    files.retain(|path| !path.components().any(|part| part.as_os_str() == "partial"));
    Seen { images, files: files.iter().map(|path| path.strip_prefix(root).unwrap().to_owned()).collect() }
}

/// Does `scenario` with the store at `root` in a process that is killed at a step.
fn kill(root: &Path, scenario: &str, step: usize) -> ExitStatus {
    let name = "store::tests::crash::does_as_it_is_told";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(SCENARIO, scenario).env(ROOT, root);
    command.env(KILLED_AT, step.to_string()).output().unwrap().status
}

/// Not a test but the process that is killed, which needs the same archives.
#[test]
fn does_as_it_is_told() {
    if let (Ok(scenario), Some(root)) = (std::env::var(SCENARIO), std::env::var_os(ROOT)) {
        act(Path::new(&root), &scenario);
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
}

/// A directory in memory. What a killed process has written is there, as it would be on a disk.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Kills a command at each of its steps, and then the one that repairs what it left.
fn interrupt(scenario: &str) {
    let (start, end) = (directory(), directory());
    prepare(start.path(), scenario);
    copy(start.path(), end.path());
    act(end.path(), scenario);
    let after = look(end.path());
    let before = {
        let untouched = directory();
        copy(start.path(), untouched.path());
        look(untouched.path())
    };
    let mut happened = BTreeSet::new();
    for step in 1..MOST_STEPS {
        let root = directory();
        copy(start.path(), root.path());
        let status = kill(root.path(), scenario, step);
        if status.success() {
            assert!(step > 2, "{scenario} has no more than {step} steps");
            assert_eq!(look(root.path()), after, "{scenario}");
            // A takeover begins again until it is done. All else was killed before it happened, and after that.
            assert!(happened.len() == 2 || before == after, "{scenario}: {happened:?}");
            return;
        }
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{scenario} at step {step}");
        kill(root.path(), "nothing", 1 + step % 7);
        let seen = look(root.path());
        assert!(
            seen == before || seen == after,
            "{scenario} at step {step}: {seen:#?}\n{before:#?}\n{after:#?}"
        );
        happened.insert(seen == after);
    }
    panic!("{scenario} has no end");
}

#[test]
fn killed_commands_have_done_everything_or_nothing() {
    std::thread::scope(|scope| {
        for scenario in SCENARIOS {
            scope.spawn(|| interrupt(scenario));
        }
    });
}
