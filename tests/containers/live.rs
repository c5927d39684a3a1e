//! Containers that seem to run: a monitor of these tests holds the lock, keeps the record and answers on the socket, as
//! `moat monitor` does for a virtual machine.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use moat_containers::Container;
use moat_containers::log::{DEFAULT_LIMITS, Source, Writer};
use moat_containers::socket;
use moat_containers::state::{State, Status};
use moat_monitor::wire::{ClientMessage, MonitorMessage, Refusal};
use moat_protocol::{ProcessInfo, Stats, frame};
use moat_records::record::Lock;
use moat_records::root::Root;

use crate::support::{Moat, PATIENCE};
use crate::{create, root};

/// What a container seems to use of one processor, in percent.
const BUSY: u64 = 50;

/// The pretended monitor of one container. It must go before its root does.
struct Monitor {
    container: Container,
    lock: Option<Lock>,
}

impl Monitor {
    /// Makes a container seem to run.
    fn start(moat: &Moat, id: &str) -> Self {
        let root = Root::open(moat.root()).expect("the root");
        let mut container = Container::read(&root, &id.parse().expect("an id")).expect("a container");
        let lock = Lock::attempt(&container.directory.lock()).expect("a lock").expect("a free container");
        let listener = socket::bind(&container.directory).expect("a socket");
        let state = State { status: Status::Running, started: Some(Timestamp::now()), ..State::created() };
        container.set_state(state).expect("a state");
        std::thread::spawn(move || {
            let began = Instant::now();
            while let Ok((stream, _)) = listener.accept() {
                answer(stream, began);
            }
        });
        Self { container, lock: Some(lock) }
    }

    fn set(&mut self, status: Status) {
        let state = State { status, finished: Some(Timestamp::now()), ..self.container.state.clone() };
        self.container.set_state(state).expect("a state");
    }

    /// A log to write to.
    fn log(&self) -> Writer {
        Writer::open(&self.container.directory, DEFAULT_LIMITS).expect("a log")
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.set(Status::Exited);
        socket::remove(&self.container.directory);
        self.lock = None;
    }
}

/// Answers one request; a client that hangs up needs no answer.
fn answer(mut stream: UnixStream, began: Instant) {
    let Ok(request) = frame::read(&mut stream) else { return };
    let elapsed = began.elapsed().as_micros() as u64;
    let message = match request {
        ClientMessage::Stats => MonitorMessage::Stats {
            stats: Stats {
                cpu_usec: elapsed * BUSY / 100,
                memory: 100 << 20,
                memory_limit: 512 << 20,
                pids: 3,
                ..Stats::default()
            },
        },
        ClientMessage::Processes => {
            MonitorMessage::Processes { processes: vec![process(1, 0), process(7, 1)] }
        }
        other => MonitorMessage::Refused(Refusal::host(format!("not here: {other:?}"))),
    };
    let _ = frame::write(&mut stream, &message);
}

fn process(pid: u32, ppid: u32) -> ProcessInfo {
    ProcessInfo {
        pid,
        ppid,
        uid: if pid == 1 { 0 } else { 33 },
        gid: 0,
        state: 'S',
        tty: "?".to_owned(),
        nice: 0,
        threads: 1,
        cpu_msec: 1500,
        started: Timestamp::now().as_second(),
        rss_kib: 1024,
        vsz_kib: 2048,
        name: "nginx".to_owned(),
        command: format!("nginx: {pid} \u{1b}[2J"),
    }
}

#[test]
fn stats_count_processor_time() {
    let moat = root();
    let ids = ["web", "still"].map(|name| create(&moat, &["--name", name]));
    let _web = Monitor::start(&moat, &ids[0]);
    let mut still = Monitor::start(&moat, &ids[1]);
    still.set(Status::Paused);
    let format = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.PIDs}}";
    let told = moat.run(["stats", "--no-stream", "--format", format]).ok();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[0], "still -- -- / -- -- --");
    let (name, rest) = told[1].split_once(' ').expect("words");
    let (percent, rest) = rest.split_once("% ").expect("a percentage");
    assert_eq!((name, rest), ("web", "100MiB / 512MiB 19.53% 3"));
    let percent: f64 = percent.parse().expect("a number");
    // The moments are taken at two ends of a socket, on a machine that may be busy.
    assert!((20.0..80.0).contains(&percent), "{percent}");
    let ps = moat.run(["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert!(
        ps.contains("web Up ")
            && ps.lines().any(|line| line.starts_with("still Up ") && line.ends_with("(Paused)"))
    );
    moat.run(["top", "still"]).code(1).says(&["container still is paused"]);
}

#[test]
fn a_container_that_does_not_answer_holds_up_nobody() {
    let moat = root();
    let ids = ["web", "mute"].map(|name| create(&moat, &["--name", name]));
    let _web = Monitor::start(&moat, &ids[0]);
    let mute = Monitor::start(&moat, &ids[1]);
    // The kernel accepts connections to this one, and no process does.
    let _listener = socket::bind(&mute.container.directory).expect("a socket");
    let told = moat.run(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"]).ok();
    assert_eq!(told, "mute --\nweb 3\n");
}

#[test]
fn stats_go_on_until_the_container_is_gone() {
    let moat = root();
    let id = create(&moat, &["--name", "web"]);
    let monitor = Monitor::start(&moat, &id);
    let mut child = moat
        .command(["stats", "--format", "{{.Name}} {{.PIDs}}", "web"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("moat starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for _ in 0..2 {
        assert_eq!(lines.next().expect("a line").expect("text"), "web 3");
    }
    drop(monitor);
    moat.run(["rm", "web"]).ok();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(rest.iter().all(|line| line == "web 3" || line == "web 0" || line == "web --"), "{rest:?}");
    assert!(child.wait().expect("an end").success());
}

#[test]
fn processes_are_shown_as_ps_shows_them() {
    let moat = root();
    let id = create(&moat, &["--name", "web"]);
    let _web = Monitor::start(&moat, &id);
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let table = words(&moat.run(["top", "web"]).ok());
    assert_eq!(table[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!(
        (&table[1][..3], &table[2][..3]),
        (&["root", "1", "0"].map(str::to_owned)[..], &["33", "7", "1"].map(str::to_owned)[..])
    );
    assert_eq!(table[2][6..], ["00:00:01", "nginx:", "7", "\u{fffd}[2J"]);
    let table = words(&moat.run(["top", "web", "-eo", "pid,comm=PROGRAM"]).ok());
    assert_eq!(table, [["PID", "PROGRAM"], ["1", "nginx"], ["7", "nginx"]]);
    let table = words(&moat.run(["container", "top", "web", "aux"]).ok());
    assert_eq!(table[1][..6], ["root", "1", "0.0", "0.2", "2048", "1024"]);
}

#[test]
fn logs_follow_across_restarts_until_the_end() {
    let moat = root();
    let id = create(&moat, &["--name", "web"]);
    let mut monitor = Monitor::start(&moat, &id);
    let mut log = monitor.log();
    log.write(Source::Stdout, b"old\nbefore\n").expect("written");
    let mut child = moat
        .command(["logs", "-f", "-n", "1", "web"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("moat starts");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || output.next().expect("a line").expect("text");
    assert_eq!(next(), "before");
    log.write(Source::Stdout, b"first run\n").expect("written");
    assert_eq!(next(), "first run");
    monitor.set(Status::Restarting);
    drop(log);
    // Long enough for a follower that would leave now.
    std::thread::sleep(Duration::from_secs(1));
    monitor.set(Status::Running);
    let mut log = monitor.log();
    log.write(Source::Stderr, b"trouble\n").expect("written");
    log.write(Source::Stdout, b"second run, unfinished").expect("written");
    log.finish().expect("finished");
    let end = Instant::now();
    drop(monitor);
    assert_eq!(next(), "second run, unfinished");
    assert!(output.next().is_none());
    let answer = child.wait_with_output().expect("an end");
    assert!(end.elapsed() < PATIENCE);
    assert_eq!((answer.status.code(), &answer.stderr[..]), (Some(0), &b"trouble\n"[..]));
}

#[test]
fn logs_are_cut_by_time_and_in_order() {
    let moat = root();
    let id = create(&moat, &["--name", "web"]);
    let monitor = Monitor::start(&moat, &id);
    let mut log = monitor.log();
    let mut expected = String::new();
    for number in 0..2000 {
        let line = format!("line {number}\n");
        let source = if number % 3 == 0 { Source::Stderr } else { Source::Stdout };
        log.write(source, line.as_bytes()).expect("written");
        expected += &line;
    }
    drop(monitor);
    // Both streams to one place, as `moat logs web 2>&1` has them.
    let program = moat.command(["logs", "web"]);
    let output = std::process::Command::new("sh")
        .args(["-c", "exec \"$0\" logs web 2>&1"])
        .arg(program.get_program())
        .env("MOAT_ROOT", moat.root())
        .output()
        .expect("sh runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let cut = |words: &[&str]| {
        let answer = moat.run(["logs"].iter().chain(words).chain(&["web"])).code(0);
        answer.text().lines().count() + answer.stderr.lines().count()
    };
    assert_eq!(cut(&["--since", "1h"]), 2000);
    assert_eq!(cut(&["--since", "0s"]), 0);
    assert_eq!(cut(&["--until", "1h"]), 0);
    assert_eq!(cut(&["--until", "-1h"]), 2000);
    assert_eq!(cut(&["-n", "0"]), 0);
    assert_eq!(cut(&["-n", "5"]), 5);
    assert_eq!(cut(&["-n", "5", "--since", "1h", "-t", "-f"]), 5);
}
