//! The fixture: a root directory with images in it, and the `moat` program.
#![allow(dead_code, reason = "each test program that shares this uses a part of it")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test calls it stuck. Guests in software are slow; this bounds a hang, it
/// measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A root directory of its own for one test.
pub struct Moat {
    root: TempDir,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Answer {
    /// Stdout as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on stdout")
    }

    /// Asserts the exit code and returns itself.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "exit code; stdout: {:?}; stderr: {}", self.lossy(), self.stderr);
        self
    }

    /// Asserts success and returns stdout.
    #[track_caller]
    pub fn ok(self) -> String {
        let answer = self.code(0);
        answer.text().to_owned()
    }

    /// Asserts that stderr has all of `parts`.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "stderr lacks {part:?}: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "a panic: {}", self.stderr);
        self
    }

    fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Moat {
    /// A root without images.
    pub fn empty() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests build jails and need root");
        Self { root: tempfile::Builder::new().prefix("moat-test-").tempdir().expect("a temporary directory") }
    }

    /// A root with the named test images in it.
    pub fn with(images: &[&str]) -> Self {
        let moat = Self::empty();
        for image in images {
            moat.run(["load", "-q", "-i", image_archive(image, "docker").to_str().expect("a UTF-8 path")])
                .ok();
        }
        moat
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A `moat` command in this root, not started yet.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let mut command = Command::new(dist().join("bin/moat"));
        command.env("MOAT_ROOT", self.root()).env_remove("MOAT_LIBEXEC").args(args);
        command
    }

    /// Runs a command to its end, with nothing on stdin.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Answer {
        finish(self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// Runs a command to its end with `input` on stdin.
    pub fn run_with_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        args: I,
        input: Vec<u8>,
    ) -> Answer {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moat starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || {
            // A command that does not read all of its input is for the test to judge.
            let _ = stdin.write_all(&input);
        });
        let answer = answer(wait_with_output(child));
        writer.join().expect("the writer ends");
        answer
    }

    /// Starts a container of busybox in the background that lives until it is killed, and returns its id.
    pub fn sleeper(&self, options: &[&str]) -> String {
        let args = ["run", "-d"].iter().chain(options).chain(&["localhost/busybox", "sleep", "100000"]);
        self.run(args).ok().trim().to_owned()
    }

    /// The ids of the containers, as `ps -a` tells them.
    pub fn containers(&self) -> Vec<String> {
        self.run(["ps", "-aq", "--no-trunc"]).ok().lines().map(str::to_owned).collect()
    }

    /// Asserts that no container has left anything on the host: no directory, name, cgroup or process.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.containers(), Vec::<String>::new());
        assert_eq!(names_in(&self.root().join("containers")), Vec::<String>::new(), "directories");
        assert_eq!(names_in(&self.root().join("names")), Vec::<String>::new(), "names");
        eventually("the root's processes to end", || processes_of(self.root()).is_empty());
    }

    /// The id of the only container there is.
    pub fn only_container(&self) -> String {
        let containers = self.containers();
        let [id] = containers.as_slice() else { panic!("not one container: {containers:?}") };
        id.clone()
    }
}

impl Drop for Moat {
    fn drop(&mut self) {
        // A failed test must not leave virtual machines behind; a passed one has none.
        if let Ok(output) = self.command(["ps", "-aq"]).output() {
            let ids = String::from_utf8_lossy(&output.stdout).into_owned();
            if !ids.trim().is_empty() {
                let _ = self.command(["rm", "-f"].into_iter().chain(ids.lines())).output();
            }
        }
    }
}

/// A root with busybox that tests share whose containers do not get into each other's way.
pub fn shared() -> &'static Moat {
    static SHARED: OnceLock<Moat> = OnceLock::new();
    SHARED.get_or_init(|| Moat::with(&["busybox"]))
}

/// `moat run --rm localhost/busybox` and more words, in the shared root.
pub fn busybox<'a>(options: &[&'a str], command: &[&'a str]) -> Answer {
    let words = ["run", "--rm"].iter().chain(options).chain(&["localhost/busybox"]).chain(command);
    shared().run(words)
}

/// Where the programs are.
pub fn dist() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dist");
    let dist = std::env::var_os("MOAT_DIST").map_or(default, PathBuf::from);
    assert!(dist.join("bin/moat").exists(), "no moat in {}; run these tests by scripts/test", dist.display());
    dist
}

/// The archive of a test image, built if need be.
pub fn image_archive(name: &str, format: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<(String, String), PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    built
        .entry((name.to_owned(), format.to_owned()))
        .or_insert_with(|| {
            let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/build");
            let output =
                Command::new(build).args([name, "--format", format]).stderr(Stdio::inherit()).output();
            let output = output.expect("tests/images/build runs");
            assert!(output.status.success(), "tests/images/build {name} failed");
            let text = String::from_utf8(output.stdout).expect("a path");
            PathBuf::from(text.lines().last().expect("a path"))
        })
        .clone()
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Answer {
    answer(wait_with_output(command.spawn().expect("the command starts")))
}

fn answer(output: Output) -> Answer {
    use std::os::unix::process::ExitStatusExt;
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Answer { code, stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// Waits for a child, and kills it and fails if it takes beyond all patience.
fn wait_with_output(child: Child) -> Output {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let stuck =
            ended.recv_timeout(PATIENCE).is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout);
        if stuck {
            // Still ours: it is reaped only after this thread is told.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        stuck
    });
    let output = child.wait_with_output().expect("output");
    drop(done);
    assert!(
        !watchdog.join().expect("the watchdog ends"),
        "stuck: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Waits until `condition` holds. There is no event to wait for in the places where this is used.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The names in a directory, sorted; none when it does not exist.
pub fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The processes that were started with `root` on their command line: its monitors.
pub fn processes_of(root: &Path) -> Vec<i32> {
    processes(|command| command.iter().any(|word| Path::new(word) == root))
}

/// The processes in the cgroup of container `id`: its VM. KVM's own thread for it, which is there too, has no command line.
pub fn vm_processes(id: &str) -> Vec<i32> {
    let path = Path::new("/sys/fs/cgroup/moat").join(id).join("cgroup.procs");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pids = text.lines().filter_map(|line| line.parse().ok());
    pids.filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty()))
        .collect()
}

/// The monitor of container `id`.
pub fn monitor_of(id: &str) -> i32 {
    let found = processes(|command| {
        command.iter().any(|w| w.ends_with("/moat-monitor")) && command.iter().any(|w| w == id)
    });
    let [pid] = found.as_slice() else { panic!("not one monitor of {id}: {found:?}") };
    *pid
}

fn processes(matches: impl Fn(&[String]) -> bool) -> Vec<i32> {
    let pids = names_in(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<i32>().ok());
    pids.filter(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> =
            command.split(|&b| b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        matches(&words)
    })
    .collect()
}

/// Kills a process the hard way. `pid` was found a moment ago, by what it is.
pub fn kill_9(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

/// One of the broken archives of `tests/images/bad.py`.
#[derive(Debug, serde::Deserialize)]
pub struct BadImage {
    /// It is `localhost/bad-NAME:latest`, if it gets that far.
    pub name: String,
    /// The archive's name in its directory.
    pub file: String,
    /// What is wrong with it.
    pub wrong: String,
    /// `error`, `ok` or `either`.
    pub expect: String,
    /// The latest moment for the error: `load` or `run`.
    pub stage: String,
}

/// Writes all broken archives into `directory` and tells what they are.
pub fn bad_images(directory: &Path) -> Vec<BadImage> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/bad.py");
    let status = Command::new("python3").arg(script).arg(directory).status().expect("python3 runs");
    assert!(status.success(), "bad.py failed");
    let cases = std::fs::read(directory.join("cases.json")).expect("the cases");
    let cases: Vec<BadImage> = serde_json::from_slice(&cases).expect("JSON");
    assert!(cases.len() > 150, "only {} cases", cases.len());
    cases
}
