//! What a launched process finds, and how it ends.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use moat_test_harness::{Test, tests};
use moat_vmm::config::Fd;
use moat_vmm::launch::{Exit, Launch, LaunchError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, signal};

use super::rig::{Probe, config, file};

pub const TESTS: &[Test] = tests![
    the_child_finds_what_it_was_given_and_nothing_else,
    signals_are_back_to_their_defaults,
    the_child_is_born_in_its_cgroup,
    a_program_that_cannot_run_is_named,
    descriptors_do_not_get_in_each_others_way,
    a_child_can_be_waited_for_and_killed,
];

fn the_child_finds_what_it_was_given_and_nothing_else() {
    // None of these may reach the child: without CLOEXEC, low and high.
    let leaked = file("leaked");
    let low = nix::unistd::dup(&leaked).unwrap();
    let said = Probe::start("surroundings").finish();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "kernel the kernel");
    assert_eq!(lines[1], "pid 1");
    assert_eq!(lines[2], "environment []");
    // The probe has closed the configuration (3) and the kernel (5).
    assert_eq!(lines[3], "descriptors [0, 1, 2, 4]");
    assert_eq!(lines[4], "0 /dev/null");
    assert_eq!(lines[5], "1 /dev/null");
    drop(low);
}

fn signals_are_back_to_their_defaults() {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::from(Signal::SIGUSR1)), Some(&mut before)).unwrap();
    // SAFETY: ignoring a signal that nothing here uses.
    unsafe { signal(Signal::SIGUSR2, SigHandler::SigIgn) }.unwrap();
    let said = Probe::start("surroundings").finish();
    let now = SigSet::thread_get_mask().unwrap();
    assert!(now.contains(Signal::SIGUSR1), "the launcher's own mask is as before");
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
    assert!(said.contains("SigBlk: 0000000000000000\n"), "{said}");
    // SIGPIPE (13) by Rust's own start-up.
    assert!(said.contains("SigIgn: 0000000000001000\n"), "{said}");
    // A session that is not the launcher's: it lies outside the namespace, where all have number 0.
    assert!(said.contains("session 1\n"), "{said}");
}

/// A cgroup v2 hierarchy: the host's, or a second view of it where its own place has another version.
struct Hierarchy {
    path: PathBuf,
    mounted: Option<tempfile::TempDir>,
}

impl Hierarchy {
    fn find() -> Option<Self> {
        let usual = PathBuf::from("/sys/fs/cgroup");
        if usual.join("cgroup.controllers").exists() {
            return Some(Self { path: usual, mounted: None });
        }
        let directory = tempfile::tempdir().unwrap();
        let none = None::<&str>;
        mount(none, directory.path(), Some("cgroup2"), MsFlags::empty(), none).ok()?;
        Some(Self { path: directory.path().to_owned(), mounted: Some(directory) })
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        if let Some(directory) = &self.mounted {
            umount2(directory.path(), MntFlags::MNT_DETACH).unwrap();
        }
    }
}

fn the_child_is_born_in_its_cgroup() {
    let name = format!("moat-test-{}", std::process::id());
    let hierarchy = Hierarchy::find();
    let directory = hierarchy.as_ref().map(|found| found.path.join(&name));
    let Some(directory) = directory.filter(|directory| fs::create_dir(directory).is_ok()) else {
        eprintln!("NOT RUN: there is no writable cgroup v2 hierarchy here");
        return;
    };
    let said = std::panic::catch_unwind(|| {
        let opened = File::open(&directory).unwrap();
        Probe::start_with("surroundings", |launch| launch.cgroup(opened.into())).finish()
    });
    fs::remove_dir(&directory).unwrap();
    let said = said.unwrap();
    assert!(said.contains(&format!("/{name}\n")), "{said}");
    // A directory that is no cgroup.
    let mut launch = Launch::new();
    launch.cgroup(File::open("/").unwrap().into());
    let error = launch.start(Path::new("/proc/self/exe"), &config("wait", Fd(4), Fd(4))).unwrap_err();
    assert!(matches!(error, LaunchError::Process { .. }), "{error}");
}

fn a_program_that_cannot_run_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("no-vmm");
    let start =
        |path: &Path| Launch::new().start(path, &config("wait", Fd(4), Fd(4))).unwrap_err().to_string();
    let named = |error: &str, why: &str| {
        assert!(error.contains(path.to_str().unwrap()) && error.contains(why), "{error}");
    };
    named(&start(&path), "No such file");
    fs::write(&path, "not a program").unwrap();
    named(&start(&path), "Permission denied");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    named(&start(&path), "Exec format error");
    assert!(start(directory.path()).contains("Permission denied"));
    assert_eq!(nix::sys::wait::waitpid(None, None), Err(nix::errno::Errno::ECHILD), "nothing is left");
}

fn descriptors_do_not_get_in_each_others_way() {
    // Sources that lie on each other's targets, in every order.
    let mut launch = Launch::new();
    let files: Vec<_> = (0..20).map(|number| file(&format!("{number}"))).collect();
    let mut numbers = Vec::new();
    for file in files.into_iter().rev() {
        numbers.push(launch.add(file));
    }
    assert_eq!(numbers[0], Fd(4));
    assert_eq!(numbers[19], Fd(23));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let report = launch.add(theirs.into());
    let child =
        launch.start(&std::env::current_exe().unwrap(), &config("surroundings", report, numbers[7])).unwrap();
    let said = std::io::read_to_string(ours).unwrap();
    assert!(said.starts_with("kernel 12\n"), "{said}");
    assert_eq!(child.wait().unwrap(), Exit::Status(0));
}

fn a_child_can_be_waited_for_and_killed() {
    let mut probe = Probe::start("wait");
    assert_eq!(probe.line(), "waiting");
    assert_eq!(probe.child.try_wait().unwrap(), None);
    let ready = |probe: &Probe, limit| {
        poll(&mut [PollFd::new(probe.child.as_fd(), PollFlags::POLLIN)], limit).unwrap() == 1
    };
    assert!(!ready(&probe, PollTimeout::ZERO));
    probe.child.kill().unwrap();
    assert!(ready(&probe, PollTimeout::from(60_000u16)));
    probe.child.kill().unwrap();
    assert_eq!(probe.child.try_wait().unwrap(), Some(Exit::Signal(libc::SIGKILL)));
    probe.child.kill().unwrap();
    assert!(probe.child.wait().is_err());
    let mut probe = Probe::start("wait");
    probe.line();
    probe.go_on();
    assert_eq!(probe.child.wait().unwrap(), Exit::Status(0));
}
