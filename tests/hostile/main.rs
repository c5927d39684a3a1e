//! The monitor and the commands against a guest that is out to hurt them: the VM is a program of this test that
//! speaks as an attacker's agent would. It needs root and cgroup v2, but no KVM.
//!
//! For every misbehaviour: the command ends with a clear word, the monitor's memory stays bounded, nothing is written
//! outside of where it belongs, and the container can be removed without a trace.

#[path = "../support/mod.rs"]
mod support;
mod tars;
mod vmm;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use support::{Answer, Moat, finish, names_in, processes_of};

/// The most that a monitor may have in memory, in KiB, with any guest.
const MONITOR_LIMIT: u64 = 24 << 10;

/// The longest that a command may take against such a guest.
const COMMAND_LIMIT: Duration = Duration::from_secs(150);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("--config") {
        return vmm::main();
    }
    let mut tests: Vec<Trial> = Vec::new();
    let mut test = |name: &str, run: fn(&str)| {
        let mode = name.to_owned();
        tests.push(Trial::test(name, move || {
            run(&mode);
            Ok(())
        }));
    };
    for mode in [
        "oversized",
        "garbage",
        "truncated",
        "started-first",
        "wrong-port",
        "hello-twice",
        "unasked",
        "exited-before-started",
    ] {
        test(mode, refused);
    }
    for mode in
        ["dial-flood", "wrong-token", "stdout-twice", "flood", "bad-output", "half-output", "bad-names"]
    {
        test(mode, survived);
    }
    test("lies", lies);
    test("deaf", deaf);
    test("turned-away", deaf);
    test("numbers", numbers);
    for mode in [
        "dotdot",
        "absolute",
        "symlink",
        "symlink-absolute",
        "hardlink",
        "device",
        "cut",
        "huge",
        "pax",
        "endless",
    ] {
        test(&format!("archive-{mode}"), copied_out);
        test(&format!("archive-file-{mode}"), copied_out);
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// A root with busybox, whose VMs are this program in the given mode.
struct Stage {
    moat: Moat,
    libexec: tempfile::TempDir,
    peak: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    watcher: Option<std::thread::JoinHandle<()>>,
}

impl Stage {
    fn new(mode: &str) -> Self {
        let moat = Moat::with(&["busybox"]);
        let libexec = tempfile::tempdir().expect("a directory");
        // The fake gets an open kernel, and reads there how to misbehave.
        std::fs::write(libexec.path().join("vmlinux"), mode).expect("written");
        std::fs::write(libexec.path().join("initramfs.cpio"), "never read").expect("written");
        let this = std::env::current_exe().expect("a path");
        std::os::unix::fs::symlink(this, libexec.path().join("moat-vmm")).expect("linked");
        let monitor = support::dist().join("libexec/moat/moat-monitor");
        std::os::unix::fs::symlink(monitor, libexec.path().join("moat-monitor")).expect("linked");
        let (peak, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let watcher = {
            let (peak, done, root) = (Arc::clone(&peak), Arc::clone(&done), moat.root().to_owned());
            std::thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    peak.fetch_max(monitors_memory(&root), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        };
        Self { moat, libexec, peak, done, watcher: Some(watcher) }
    }

    fn run(&self, args: &[&str]) -> Answer {
        let began = Instant::now();
        let mut command = self.moat.command(args);
        command.env("MOAT_LIBEXEC", self.libexec.path());
        let answer = finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert!(began.elapsed() < COMMAND_LIMIT, "{args:?} took {:?}", began.elapsed());
        answer
    }

    /// Removes what is left and looks at what it cost.
    fn end(mut self) {
        for id in self.moat.containers() {
            self.run(&["rm", "-f", &id]).code(0);
        }
        self.moat.assert_clean();
        self.done.store(true, Ordering::SeqCst);
        if let Some(watcher) = self.watcher.take() {
            watcher.join().expect("it ends");
        }
        let peak = self.peak.load(Ordering::SeqCst);
        assert!(peak < MONITOR_LIMIT, "the monitor had {peak} KiB in memory");
    }
}

/// The largest that a monitor of `root` has ever been, in KiB.
fn monitors_memory(root: &Path) -> u64 {
    let status = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let command = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let monitors = processes_of(root)
        .into_iter()
        .filter(|pid| command(pid).split(|&b| b == 0).any(|word| word.ends_with(b"/moat-monitor")));
    let peaks = monitors.filter_map(|pid| {
        let text = status(pid);
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
    });
    peaks.max().unwrap_or(0)
}

/// The agent breaks the protocol before anything runs: 125, and a word about the guest.
fn refused(mode: &str) {
    let stage = Stage::new(mode);
    let answer = stage.run(&["run", "--name", "box", "localhost/busybox", "true"]);
    assert_eq!(answer.code, 125, "{}", answer.stderr);
    answer.says(&["guest"]);
    stage.end();
}

/// The guest misbehaves beside a process that ends with 3: that is what is told.
fn survived(mode: &str) {
    let stage = Stage::new(mode);
    let answer = stage.run(&["run", "--name", "box", "localhost/busybox", "true"]).code(3);
    let logs = stage.run(&["logs", "box"]).code(0);
    if mode == "flood" {
        assert_eq!(
            answer.stdout.len(),
            1600 * moat_protocol::output::MAX_OUTPUT,
            "the client sees all of it"
        );
        let size: u64 = names_in(&stage.moat.root().join("containers"))
            .iter()
            .flat_map(|id| {
                let directory = stage.moat.root().join("containers").join(id);
                names_in(&directory)
                    .into_iter()
                    .filter(|name| name.starts_with("log"))
                    .map(move |name| directory.join(name))
            })
            .map(|path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len()))
            .sum();
        assert!(size <= 30 << 20, "{size} bytes of log");
        assert!(logs.stdout.len() > 1 << 20);
    }
    stage.end();
}

/// It says that the process has ended and does not end its output.
fn lies(mode: &str) {
    let stage = Stage::new(mode);
    stage.run(&["run", "-d", "--name", "box", "localhost/busybox", "true"]).code(0);
    stage.run(&["stop", "-t", "1", "box"]).code(0);
    let state = stage.run(&["ps", "-a", "--format", "{{.State}}"]).ok();
    assert_eq!(state, "exited\n");
    stage.end();
}

/// It hears no signal and no request to power off, or cannot even be sent one.
fn deaf(mode: &str) {
    let stage = Stage::new(mode);
    stage.run(&["run", "-d", "--name", "box", "localhost/busybox", "true"]).code(0);
    stage.run(&["stop", "-t", "1", "box"]).code(0);
    assert_eq!(
        stage.run(&["ps", "-a", "--format", "{{.State}} {{.Status}}"]).ok().split(' ').next(),
        Some("exited")
    );
    stage.end();
}

/// Its numbers and names are nonsense: they are shown harmlessly.
fn numbers(mode: &str) {
    let stage = Stage::new(mode);
    stage.run(&["run", "-d", "--name", "box", "localhost/busybox", "true"]).code(0);
    for words in [&["stats", "--no-stream"][..], &["top", "box"], &["top", "box", "aux"]] {
        let answer = stage.run(words);
        assert!(
            !answer.stdout.contains(&0x1b) && !answer.stderr.contains('\u{1b}'),
            "{words:?} prints escapes"
        );
        assert!(!answer.stderr.contains("panicked"), "{words:?}: {}", answer.stderr);
    }
    stage.end();
}

/// What comes out of the container stays in the directory that it was copied to.
fn copied_out(mode: &str) {
    let stage = Stage::new(mode);
    stage.run(&["run", "-d", "--name", "box", "localhost/busybox", "true"]).code(0);
    let outside = tempfile::tempdir().expect("a directory");
    let inside = outside.path().join("inside");
    std::fs::create_dir(&inside).expect("made");
    std::fs::write(outside.path().join("victim"), "untouched").expect("written");
    std::fs::write(inside.join("victim"), "untouched").expect("written");
    let mut command = stage.moat.command(["cp", "box:/x", inside.to_str().expect("UTF-8")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("moat starts");
    if mode.ends_with("endless") {
        // What has no end is the user's to break off; until then it costs no memory.
        std::thread::sleep(Duration::from_secs(3));
        child.kill().expect("killed");
    }
    let output = child.wait_with_output().expect("output");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked") && !stderr.contains('\u{1b}'), "{stderr}");
    assert_eq!(names_in(outside.path()), ["inside", "victim"], "{stderr}");
    for victim in [outside.path().join("victim"), inside.join("victim")] {
        assert_eq!(std::fs::read_to_string(victim).expect("there"), "untouched");
    }
    // The command does not report success, except when it leaves out a device and says so.
    assert!(!output.status.success() || mode.ends_with("device"), "{mode}: {stderr}");
    assert!(mode.ends_with("endless") || !stderr.is_empty(), "{mode}");
    assert!(!Path::new("/tmp/moat-hostile-escaped").exists(), "{stderr}");
    use std::os::unix::fs::FileTypeExt;
    for name in names_in(&inside.join("x")) {
        let kind = inside.join("x").join(name).symlink_metadata().expect("there").file_type();
        assert!(!kind.is_block_device() && !kind.is_char_device(), "a device was made");
    }
    stage.end();
}
