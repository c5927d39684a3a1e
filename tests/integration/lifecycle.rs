//! create, start, stop, restart, kill, pause, wait, rename, update: the states and the ways between them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Moat, eventually, monitor_of, vm_processes};

/// What `ps -a` says about the container called `name`.
fn status(moat: &Moat, name: &str) -> String {
    moat.run(["ps", "-a", "--filter", &format!("name=^{name}$"), "--format", "{{.Status}}"])
        .ok()
        .trim()
        .to_owned()
}

/// Processor time that the container's VM has used, in clock ticks.
fn ticks(id: &str) -> u64 {
    let pids = vm_processes(id);
    let [pid] = pids.as_slice() else { panic!("not one VM: {pids:?}") };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
}

#[test]
fn a_created_container_waits_until_it_is_started() {
    let moat = Moat::with(&["busybox"]);
    let id = moat
        .run(["create", "--name", "box", "localhost/busybox", "sh", "-c", "echo once more >> /f; cat /f"])
        .ok();
    assert_eq!(id.trim().len(), 64);
    assert_eq!(status(&moat, "box"), "Created");
    assert_eq!(moat.run(["start", "-a", "box"]).ok(), "once more\n");
    assert!(status(&moat, "box").starts_with("Exited (0)"));
    // The writable layer survives, and `start` without -a does not wait.
    assert_eq!(moat.run(["start", "box"]).ok(), "box\n");
    assert_eq!(moat.run(["wait", "box"]).ok(), "0\n");
    assert_eq!(moat.run(["logs", "box"]).ok(), "once more\nonce more\nonce more\n");
    moat.run(["rm", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn start_with_a_joins_a_container_that_runs() {
    let moat = Moat::with(&["busybox"]);
    let script = "until test -e /go; do sleep 0.1; done; echo gone; exit 9";
    moat.run(["run", "-d", "--name", "box", "localhost/busybox", "sh", "-c", script]).ok();
    let starter = moat.command(["start", "-a", "box"]).stdout(Stdio::piped()).spawn().expect("moat starts");
    std::thread::sleep(Duration::from_secs(1));
    moat.run(["exec", "box", "touch", "/go"]).ok();
    let output = starter.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(9), &b"gone\n"[..]));
    moat.run(["rm", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn an_interrupt_during_the_boot_reaches_the_process() {
    let moat = Moat::with(&["busybox"]);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let words = ["run", "--rm", "--init", "localhost/busybox", "sleep", "100000"];
        let mut client = moat.command(words).spawn().expect("moat starts");
        // From here on the client passes signals on, and the guest has its boot before it.
        eventually("a virtual machine", || {
            moat.containers().first().is_some_and(|id| !vm_processes(id).is_empty())
        });
        kill(Pid::from_raw(client.id().cast_signed()), signal).expect("the client runs");
        assert_eq!(client.wait().expect("it ends").code(), Some(code));
        moat.assert_clean();
    }
}

#[test]
fn a_container_that_cannot_be_started_stays_created() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["create", "--name", "bad", "localhost/busybox", "/nowhere"]).ok();
    moat.run(["start", "bad"]).code(1).says(&["bad", "/nowhere"]);
    assert_eq!(status(&moat, "bad"), "Created");
    moat.run(["start", "-a", "bad"]).code(127).says(&["/nowhere"]);
    moat.run(["rm", "bad"]).ok();
    moat.assert_clean();
}

#[test]
fn stop_asks_waits_and_kills() {
    let moat = Moat::with(&["busybox"]);
    // One that listens ends with its own code.
    let polite = "trap 'exit 7' TERM; echo up; while true; do sleep 0.1; done";
    moat.run(["run", "-d", "--name", "polite", "localhost/busybox", "sh", "-c", polite]).ok();
    eventually("its trap", || moat.run(["logs", "polite"]).ok() == "up\n");
    assert_eq!(moat.run(["stop", "polite"]).ok(), "polite\n");
    assert!(status(&moat, "polite").starts_with("Exited (7)"), "{}", status(&moat, "polite"));
    // PID 1 of a PID namespace does not die of a signal that it does not handle.
    moat.run(["run", "-d", "--name", "deaf", "localhost/busybox", "sleep", "100000"]).ok();
    let began = Instant::now();
    moat.run(["stop", "-t", "1", "deaf"]).ok();
    assert!(began.elapsed() >= Duration::from_secs(1), "it was given its time");
    assert!(status(&moat, "deaf").starts_with("Exited (137)"), "{}", status(&moat, "deaf"));
    // With the signal it was told to listen for.
    let quit = "trap 'exit 9' QUIT; echo up; while true; do sleep 0.1; done";
    moat.run(["run", "-d", "--name", "quit", "--stop-signal", "QUIT", "localhost/busybox", "sh", "-c", quit])
        .ok();
    eventually("its trap", || moat.run(["logs", "quit"]).ok() == "up\n");
    moat.run(["stop", "quit"]).ok();
    assert!(status(&moat, "quit").starts_with("Exited (9)"), "{}", status(&moat, "quit"));
    // What has ended is stopped already.
    moat.run(["stop", "polite", "deaf"]).ok();
    moat.run(["rm", "polite", "deaf", "quit"]).ok();
    moat.assert_clean();
}

#[test]
fn kill_sends_any_signal() {
    let moat = Moat::with(&["busybox"]);
    let script = "trap 'echo hup' HUP; echo up; while true; do sleep 0.1; done";
    moat.run(["run", "-d", "--name", "box", "localhost/busybox", "sh", "-c", script]).ok();
    eventually("its trap", || moat.run(["logs", "box"]).ok() == "up\n");
    moat.run(["kill", "-s", "HUP", "box"]).ok();
    eventually("the signal", || moat.run(["logs", "box"]).ok() == "up\nhup\n");
    moat.run(["kill", "box"]).ok();
    assert!(status(&moat, "box").starts_with("Exited (137)"), "{}", status(&moat, "box"));
    moat.run(["kill", "box"]).code(1).says(&["box", "is not running"]);
    moat.run(["rm", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn restart_keeps_the_writable_layer() {
    let moat = Moat::with(&["busybox"]);
    let script = "echo x >> /count; wc -l < /count; trap 'exit 0' TERM; while true; do sleep 0.1; done";
    moat.run(["run", "-d", "--name", "box", "localhost/busybox", "sh", "-c", script]).ok();
    eventually("the first run", || moat.run(["logs", "box"]).ok() == "1\n");
    moat.run(["restart", "box"]).ok();
    eventually("the second run", || moat.run(["logs", "box"]).ok() == "1\n2\n");
    moat.run(["stop", "box"]).ok();
    moat.run(["restart", "box"]).ok();
    eventually("the third run", || moat.run(["logs", "box"]).ok() == "1\n2\n3\n");
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn a_paused_container_uses_no_processor_and_says_so() {
    let moat = Moat::with(&["busybox"]);
    let busy = "i=0; while true; do i=$((i+1)); echo $i > /tmp/i; done";
    let id = moat.run(["run", "-d", "--name", "box", "localhost/busybox", "sh", "-c", busy]).ok();
    let id = id.trim();
    moat.run(["pause", "box"]).ok();
    assert!(status(&moat, "box").ends_with("(Paused)"), "{}", status(&moat, "box"));
    let before = ticks(id);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ticks(id), before, "it stands still");
    moat.run(["exec", "box", "true"]).code(1).says(&["box", "is paused"]);
    moat.run(["stop", "box"]).code(1).says(&["box", "is paused", "Unpause"]);
    moat.run(["pause", "box"]).code(1).says(&["already paused"]);
    moat.run(["rm", "box"]).code(1).says(&["paused"]);
    moat.run(["update", "--memory", "128m", "box"]).code(1).says(&["is paused", "unpause"]);
    moat.run(["unpause", "box"]).ok();
    eventually("it to go on", || ticks(id) > before);
    moat.run(["exec", "box", "true"]).ok();
    moat.run(["unpause", "box"]).code(1).says(&["is not paused"]);
    moat.run(["pause", "box"]).ok();
    moat.run(["kill", "box"]).ok();
    assert!(status(&moat, "box").starts_with("Exited (137)"), "{}", status(&moat, "box"));
    moat.run(["start", "box"]).ok();
    moat.run(["pause", "box"]).ok();
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}

/// The host goes down: every monitor is told to end.
#[test]
fn a_paused_container_is_told_too_when_the_host_goes_down() {
    let moat = Moat::with(&["busybox"]);
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 1; done";
    let id = moat.run(["run", "-d", "--name", "box", "localhost/busybox", "sh", "-c", script]).ok();
    eventually("it listens", || moat.run(["logs", "box"]).ok() == "ready\n");
    moat.run(["pause", "box"]).ok();
    let monitor = nix::unistd::Pid::from_raw(monitor_of(id.trim()));
    nix::sys::signal::kill(monitor, nix::sys::signal::Signal::SIGTERM).expect("told");
    assert_eq!(moat.run(["wait", "box"]).ok(), "7\n");
    moat.run(["rm", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn restart_policies_bring_containers_back() {
    let moat = Moat::with(&["busybox"]);
    let run = |name: &str, policy: &str, script: &str| {
        moat.run(["run", "-d", "--name", name, "--restart", policy, "localhost/busybox", "sh", "-c", script])
            .ok();
    };
    run("thrice", "on-failure:2", "echo run; exit 3");
    assert_eq!(moat.run(["wait", "thrice"]).ok(), "3\n");
    assert_eq!(moat.run(["logs", "thrice"]).ok(), "run\nrun\nrun\n");
    assert_eq!(moat.run(["inspect", "-f", "{{.RestartCount}}", "thrice"]).ok(), "2\n");
    run("once", "on-failure", "echo run; exit 0");
    assert_eq!(moat.run(["wait", "once"]).ok(), "0\n");
    assert_eq!(moat.run(["logs", "once"]).ok(), "run\n");
    run("always", "always", "echo run; exit 0");
    eventually("several runs", || moat.run(["logs", "always"]).ok().lines().count() >= 3);
    moat.run(["stop", "always"]).ok();
    assert!(status(&moat, "always").starts_with("Exited"), "{}", status(&moat, "always"));
    let runs = moat.run(["logs", "always"]).ok();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(moat.run(["logs", "always"]).ok(), runs, "what was stopped stays stopped");
    // After the host has booted.
    run("unless", "unless-stopped", "echo run; sleep 100000");
    moat.run(["stop", "-t", "0", "unless"]).ok();
    let started = moat.run(["boot"]).ok();
    assert_eq!(started, "always\n", "not what a user had stopped, unless it is to run always");
    moat.run(["stop", "always"]).ok();
    moat.run(["start", "unless"]).ok();
    crate::support::kill_9(monitor_of(&id_of(&moat, "unless")));
    eventually("the loss to be seen", || status(&moat, "unless").starts_with("Exited"));
    assert!(moat.run(["boot"]).ok().lines().any(|name| name == "unless"));
    moat.run(["rm", "-f", "thrice", "once", "always", "unless"]).ok();
    moat.assert_clean();
}

fn id_of(moat: &Moat, name: &str) -> String {
    moat.run(["ps", "-aq", "--no-trunc", "--filter", &format!("name=^{name}$")]).ok().trim().to_owned()
}

#[test]
fn health_is_checked_and_shown() {
    let moat = Moat::with(&["busybox"]);
    let check = ["--health-cmd", "test -e /well || { echo sick; false; }", "--health-interval", "500ms"];
    let args = ["run", "-d", "--name", "box", "--health-retries", "2"].iter().chain(&check);
    moat.run(args.chain(&["localhost/busybox", "sleep", "100000"])).ok();
    assert!(status(&moat, "box").ends_with("(health: starting)"), "{}", status(&moat, "box"));
    eventually("it to be unhealthy", || status(&moat, "box").ends_with("(unhealthy)"));
    moat.run(["exec", "box", "touch", "/well"]).ok();
    eventually("it to be healthy", || status(&moat, "box").ends_with("(healthy)"));
    let health = moat.run(["inspect", "-f", "{{json .State.Health}}", "box"]).ok();
    assert!(health.contains("\"healthy\"") && health.contains("sick"), "{health}");
    let events = moat.run(["events", "--since", "1h", "--until", "0s", "--filter", "container=box"]).ok();
    assert!(
        events.contains("health_status: unhealthy") && events.contains("health_status: healthy"),
        "{events}"
    );
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn a_life_is_told_by_events() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "box"]);
    moat.run(["exec", "box", "true"]).ok();
    moat.run(["rm", "-f", "box"]).ok();
    let past = |words: &[&str]| {
        moat.run(["events", "--since", "1h", "--until", "0s"].iter().chain(words).copied()).ok()
    };
    let own = ["--filter", "container=box", "--format"];
    let actions = past(&[&own[..], &["{{.Action}}"]].concat());
    let expected =
        ["create", "start", "exec_create: true", "exec_start: true", "exec_die", "kill", "die", "destroy"];
    assert_eq!(actions.lines().collect::<Vec<_>>(), expected);
    let ids = past(&[&own[..], &["{{with .Actor.Attributes.execID}}{{.}}{{end}}"]].concat());
    let ids: Vec<&str> = ids.lines().filter(|id| !id.is_empty()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| id.len() == 64 && *id == ids[0]), "{ids:?}");
    let ends = past(&["--filter", "event=die", "--format", "{{.Actor.Attributes.execDuration}}"]);
    assert!(ends.trim().parse::<u32>().is_ok(), "{ends}");
    let networks = past(&["--filter", "type=network", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
    assert_eq!(networks, "connect bridge\ndisconnect bridge\n");
    moat.assert_clean();
}

#[test]
fn out_of_memory_is_told() {
    let moat = Moat::with(&["busybox"]);
    // One line without an end, kept in memory.
    let eat = ["run", "--name", "box", "--memory", "96m", "localhost/busybox", "tail", "/dev/zero"];
    moat.run(eat).code(137);
    assert_eq!(
        moat.run(["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "box"]).ok(),
        "true 137\n"
    );
    moat.run(["rm", "box"]).ok();
    moat.assert_clean();
}

#[test]
fn names_change_whether_it_runs_or_not() {
    let moat = Moat::with(&["busybox"]);
    moat.sleeper(&["--name", "one"]);
    moat.run(["create", "--name", "two", "localhost/busybox"]).ok();
    moat.run(["rename", "one", "uno"]).ok();
    moat.run(["rename", "two", "due"]).ok();
    moat.run(["rename", "uno", "due"]).code(1).says(&["due", "already in use"]);
    moat.run(["rename", "uno", "not/good"]).code(1).says(&["Invalid container name"]);
    let names = moat.run(["ps", "-a", "--format", "{{.Names}}"]).ok();
    assert_eq!(names.lines().collect::<std::collections::BTreeSet<_>>(), ["due", "uno"].into());
    moat.run(["rm", "-f", "uno", "due"]).ok();
    moat.assert_clean();
}

#[test]
fn update_changes_what_a_container_may_use() {
    let moat = Moat::with(&["busybox"]);
    let id = moat.sleeper(&["--name", "box", "--memory", "256m", "--cpus", "1"]);
    moat.run(["update", "--cpus", "0.25", "box"]).ok();
    let quota = std::fs::read_to_string(format!("/sys/fs/cgroup/moat/{id}/cpu.max"));
    if let Ok(quota) = quota {
        assert_eq!(quota.trim(), "25000 100000");
    }
    let free = |moat: &Moat| -> u64 {
        let text = moat.run(["exec", "box", "sh", "-c", "grep MemAvailable /proc/meminfo"]).ok();
        text.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    };
    let before = free(&moat);
    moat.run(["update", "--memory", "128m", "box"]).ok();
    eventually("the balloon to take memory", || free(&moat) + (100 << 10) < before);
    moat.run(["update", "--memory", "256m", "box"]).ok();
    eventually("the balloon to give it back", || free(&moat) + (20 << 10) > before);
    moat.run(["update", "--memory", "1g", "box"]).code(1).says(&["256 MiB", "stop the container"]);
    moat.run(["update", "box"]).code(1).says(&["nothing to update"]);
    moat.run(["update", "--pids-limit", "4", "box"]).ok();
    let forks = "for i in 1 2 3 4 5 6; do sleep 5 & done; wait";
    moat.run(["exec", "box", "sh", "-c", forks]).says(&["fork"]);
    moat.run(["stop", "-t", "0", "box"]).ok();
    moat.run(["update", "--memory", "300m", "--restart", "always", "box"]).ok();
    let told =
        moat.run(["inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}", "box"]).ok();
    assert_eq!(told, format!("{} always\n", 300_u64 << 20));
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}

/// What is done and what is refused in each state. What takes a boot to look into a container that does not run is tried
/// elsewhere.
const ASKED: [(&str, &[&str], &[&str]); 5] = [
    ("created", &["stop", "stats", "update"], &["kill", "pause", "unpause", "exec", "attach", "top"]),
    ("running", &["start", "exec", "top", "cp", "diff", "stats", "update"], &["unpause", "rm"]),
    (
        "paused",
        &["stats", "update"],
        &[
            "start",
            "stop",
            "restart",
            "pause",
            "exec",
            "attach",
            "top",
            "cp",
            "diff",
            "export",
            "commit",
            "disconnect",
            "rm",
        ],
    ),
    (
        "restarting",
        &[],
        &["pause", "unpause", "exec", "attach", "top", "cp", "diff", "export", "commit", "rm"],
    ),
    ("exited", &["stop", "wait", "stats", "update"], &["kill", "pause", "unpause", "exec", "attach", "top"]),
];

/// A verb with what it needs to be a command.
fn words(verb: &'static str) -> Vec<&'static str> {
    match verb {
        "exec" => vec!["exec", "box", "true"],
        "cp" => vec!["cp", "box:/etc/passwd", "-"],
        "commit" => vec!["commit", "box", "localhost/kept"],
        "disconnect" => vec!["network", "disconnect", "bridge", "box"],
        "stats" => vec!["stats", "--no-stream", "box"],
        "update" => vec!["update", "--cpus", "0.5", "box"],
        verb => vec![verb, "box"],
    }
}

/// Every state with every verb: what is allowed works, and what is not names the state.
#[test]
fn every_verb_in_every_state() {
    let moat = Moat::with(&["busybox"]);
    let in_state = |state: &str| {
        moat.run(["rm", "-f", "box"]);
        match state {
            "created" => {
                drop(moat.run(["create", "--name", "box", "localhost/busybox", "sleep", "100000"]).ok())
            }
            "exited" => drop(moat.run(["run", "--name", "box", "localhost/busybox", "true"]).ok()),
            "restarting" => {
                moat.run(["run", "-d", "--name", "box", "--restart", "always", "localhost/busybox", "false"])
                    .ok();
                // Each rest is twice as long as the one before: the seventh is long enough for all that is asked below.
                eventually("a long rest", || {
                    let count = moat.run(["inspect", "-f", "{{.RestartCount}}", "box"]).ok();
                    let count: u32 = count.trim().parse().expect("a number");
                    count >= 6 && status(&moat, "box").starts_with("Restarting")
                });
            }
            _ => {
                moat.sleeper(&["--name", "box"]);
                if state == "paused" {
                    moat.run(["pause", "box"]).ok();
                }
            }
        }
    };
    for (state, allowed, refused) in ASKED {
        in_state(state);
        for verb in allowed {
            moat.run(words(verb)).ok();
        }
        for verb in refused {
            let words = words(verb);
            let mut answer = moat.run(&words);
            // A rest ends by itself: what was asked after it was asked of a container that runs.
            while answer.code == 0 && state == "restarting" && !status(&moat, "box").starts_with("Restarting")
            {
                in_state(state);
                answer = moat.run(&words);
            }
            assert_ne!(answer.code, 0, "{verb} while {state}");
            let named = ["running", "paused", "restarting"].iter().any(|word| answer.stderr.contains(word));
            assert!(named && answer.stderr.contains("box"), "{verb} while {state}: {}", answer.stderr);
        }
    }
    moat.run(["rm", "-f", "box"]).ok();
    moat.assert_clean();
}
