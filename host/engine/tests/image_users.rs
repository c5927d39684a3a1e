//! Images stay as long as containers need them, also when commands are killed at every place of a container's making and
//! removal, and when an earlier release made the containers.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use moat_containers::state::{State, Status};
use moat_engine::image::ImportRequest;
use moat_engine::{Container, CreateOptions, Engine, ErrorKind, Root};
use moat_protocol::tar::Writer;
use moat_records::failpoint::{POINTS, USERS_POINTS};
use moat_records::record::Lock;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What the process that is killed is to do, and where.
const SCENARIO: &str = "MOAT_TEST_SCENARIO";
const ROOT: &str = "MOAT_TEST_ROOT";

fn engine(root: &Path) -> Engine {
    Engine::open(Root::open(root).unwrap()).unwrap()
}

/// An engine with two images, and its directory.
fn with_images() -> (Engine, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    for name in ["app", "other"] {
        let request = ImportRequest {
            source: name.to_owned(),
            name: Some(name.parse().unwrap()),
            changes: vec!["CMD true".parse().unwrap()],
            ..ImportRequest::default()
        };
        engine.import(Writer::new(Vec::new()).finish().unwrap().as_slice(), request).unwrap();
    }
    (engine, directory)
}

fn create(engine: &Engine, image: &str) -> Container {
    let options = CreateOptions { image: image.to_owned(), ..CreateOptions::default() };
    engine.create(&engine.store().resolve(image).unwrap(), options).unwrap()
}

/// Whether `app` cannot be removed, for a container's sake.
fn is_refused(engine: &Engine, force: bool) -> bool {
    match engine.remove_image("app", force) {
        Ok(_) => false,
        Err(e) if e.kind() == ErrorKind::Conflict => true,
        Err(e) => panic!("{e}"),
    }
}

/// What is noted about images and their containers, as `IMAGE/CONTAINER`.
fn noted(root: &Path) -> BTreeSet<PathBuf> {
    let images = || fs::read_dir(root.join("users")).unwrap().map(|entry| entry.unwrap().path());
    let mut noted = BTreeSet::new();
    for image in images().filter(|path| !path.ends_with("format.json")) {
        let before = noted.len();
        noted.extend(fs::read_dir(&image).unwrap().map(|entry| entry.unwrap().path()));
        assert!(noted.len() > before, "{} is empty", image.display());
    }
    noted
}

/// Not a test but the process that is killed.
#[test]
fn does_as_it_is_told() {
    let (Ok(scenario), Some(root)) = (std::env::var(SCENARIO), std::env::var_os(ROOT)) else { return };
    let engine = engine(Path::new(&root));
    match scenario.as_str() {
        "create" => drop(create(&engine, "app")),
        "remove" => engine.remove(&engine.list().unwrap()[0], false).unwrap(),
        _ => drop(engine.remove_image("app", false)),
    }
}

/// A process that does `scenario` and stands still at `point`.
fn halt(root: &Path, scenario: &str, point: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "does_as_it_is_told"]).env(SCENARIO, scenario).env(ROOT, root);
    let child = command.env("MOAT_FAILPOINT", point).stdout(Stdio::null()).spawn().unwrap();
    let status = waitpid(pid(&child), Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(status, WaitStatus::Stopped(..)), "{scenario} does not come by {point}: {status:?}");
    child
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn resume(mut child: Child) {
    kill(pid(&child), Signal::SIGCONT).unwrap();
    assert!(child.wait().unwrap().success());
}

fn kill_at(root: &Path, scenario: &str, point: &str) {
    let mut child = halt(root, scenario, point);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_image_is_used_until_its_last_container_is_removed() {
    let (engine, directory) = with_images();
    let (first, second) = (create(&engine, "app"), create(&engine, "app"));
    let other = create(&engine, "other");
    assert_eq!(noted(directory.path()).len(), 3);
    let error = engine.remove_image("app", false).unwrap_err().to_string();
    // The newest is named.
    assert!(error.contains(second.id().short()), "{error}");
    engine.remove(&second, false).unwrap();
    let error = engine.remove_image("app", false).unwrap_err().to_string();
    assert!(error.contains(first.id().short()), "{error}");
    engine.remove(&first, false).unwrap();
    assert!(!is_refused(&engine, false));
    engine.remove(&other, false).unwrap();
    assert!(noted(directory.path()).is_empty());
}

#[test]
fn killed_commands_leave_no_container_without_its_image() {
    for point in POINTS {
        let scenario = match point.split_once('.') {
            Some((verb @ ("create" | "remove"), _)) => verb,
            _ => continue,
        };
        let (engine, directory) = with_images();
        if scenario == "remove" {
            create(&engine, "app");
        }
        kill_at(directory.path(), scenario, point);
        let ids = engine.containers().ids().unwrap();
        let config = |id: &_| directory.path().join(format!("containers/{id}/config.json"));
        let is_there = ids.iter().any(|id| config(id).exists());
        assert_eq!(is_refused(&engine, false), is_there, "{point}");
        for container in engine.list().unwrap() {
            engine.remove(&container, false).unwrap();
        }
        assert!(!is_there || !is_refused(&engine, false), "{point}");
        assert_eq!(noted(directory.path()), BTreeSet::new(), "{point}");
    }
}

#[test]
fn an_image_of_which_a_container_is_being_made_stays() {
    // Before these points the set of containers is locked, and removing an image waits.
    for point in ["create.named", "create.disk-made", "create.state-written", "create.config-written"] {
        let (engine, directory) = with_images();
        let child = halt(directory.path(), "create", point);
        assert!(is_refused(&engine, false), "{point}");
        // By its id, force removes an image that a container uses; what is being made would not start.
        let id = engine.store().resolve("app").unwrap().id.to_string();
        let forced = engine.remove_image(&id, true);
        assert_eq!(forced.is_err(), point != "create.config-written", "{point}");
        resume(child);
        let container = engine.list().unwrap().remove(0);
        assert_eq!(noted(directory.path()).len(), 1);
        engine.remove(&container, false).unwrap();
    }
}

#[test]
fn containers_of_an_earlier_release_are_found() {
    for point in USERS_POINTS {
        let (engine, directory) = with_images();
        let containers = ["app", "other", "app"].map(|image| create(&engine, image));
        let all = noted(directory.path());
        fs::remove_dir_all(directory.path().join("users")).unwrap();
        drop(engine);
        kill_at(directory.path(), "remove image", point);
        let engine = self::engine(directory.path());
        let unfinished = directory.path().join("users/.format.json.1.tmp");
        fs::write(&unfinished, "{").unwrap();
        assert!(is_refused(&engine, false), "{point}");
        assert_eq!(noted(directory.path()), all, "{point}");
        assert!(directory.path().join("users/format.json").exists() && !unfinished.exists());
        for container in &containers {
            engine.remove(container, false).unwrap();
        }
        assert!(!is_refused(&engine, false), "{point}");
    }
}

/// What Docker answers: the image of a paused container cannot be removed by force, as little as that of a running one.
#[test]
fn a_paused_container_counts_as_running() {
    let (engine, _directory) = with_images();
    let mut container = create(&engine, "app");
    let id = engine.store().resolve("app").unwrap().id.to_string();
    let _monitor = Lock::wait(&container.directory.lock()).unwrap();
    for status in [Status::Running, Status::Paused, Status::Restarting] {
        container.set_state(State { status, ..State::created() }).unwrap();
        let error = engine.remove_image(&id, true).unwrap_err().to_string();
        let expected = format!("image is being used by running container {}", container.id().short());
        assert!(error.contains(&expected) && error.contains("cannot be forced"), "{status:?}: {error}");
    }
}

/// An earlier release neither makes nor removes the files in `users/`.
#[test]
fn an_earlier_release_may_be_at_work() {
    let (engine, directory) = with_images();
    let format = directory.path().join("users/format.json");
    let container = create(&engine, "app");
    let making = Lock::wait(&container.directory.lock()).unwrap();
    let (config, aside) = (container.directory.config(), directory.path().join("aside"));
    fs::remove_dir_all(directory.path().join("users")).unwrap();
    drop(engine);
    // It has not written the record yet.
    fs::rename(&config, &aside).unwrap();
    let engine = self::engine(directory.path());
    engine.remove_image("other", false).unwrap();
    assert!(!format.exists());
    fs::rename(&aside, &config).unwrap();
    drop(making);
    assert!(is_refused(&engine, false));
    assert!(format.exists());
    // It has removed a container.
    fs::remove_dir_all(container.directory.path()).unwrap();
    assert!(!is_refused(&engine, false));
    assert!(noted(directory.path()).is_empty());
}

/// Only containers of the image itself are asked.
#[test]
fn containers_of_other_images_are_not_read() {
    let (engine, directory) = with_images();
    let (container, other) = (create(&engine, "app"), create(&engine, "other"));
    assert!(is_refused(&engine, false));
    fs::write(other.directory.config(), "{").unwrap();
    engine.remove(&container, false).unwrap();
    assert!(!is_refused(&engine, false));
    assert!(engine.remove_image("other", true).is_err(), "its container cannot be asked");
    assert_eq!(noted(directory.path()).len(), 1);
}
