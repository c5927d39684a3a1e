//! Containers that never run, through the real command line: what is told about them, and what is done with them.
//! None of this needs a virtual machine; [`live`] pretends that there is one.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

mod flags;
mod live;
#[path = "../support/mod.rs"]
mod support;

use support::{Moat, names_in};

/// A root with busybox.
fn root() -> Moat {
    Moat::with(&["busybox"])
}

/// Creates a container of busybox that would sleep, and returns its id.
fn create(moat: &Moat, options: &[&str]) -> String {
    let words = ["create"].iter().chain(options).chain(&["localhost/busybox", "sleep", "100000"]);
    moat.run(words).ok().trim().to_owned()
}

/// What `--format` makes of a command's answer, a line each.
fn lines(moat: &Moat, words: &[&str]) -> Vec<String> {
    moat.run(words).ok().lines().map(str::to_owned).collect()
}

fn inspect(moat: &Moat, name: &str) -> Value {
    let all: Value = serde_json::from_str(&moat.run(["inspect", name]).ok()).expect("JSON");
    all[0].clone()
}

#[test]
fn ps_tells_what_docker_tells() {
    let moat = root();
    assert_eq!(
        moat.run(["ps", "-a"]).ok(),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    );
    let id = create(&moat, &["--name", "web", "-l", "team=a", "-l", "tier=1"]);
    assert_eq!(moat.run(["ps"]).ok().lines().count(), 1);
    let table = moat.run(["ps", "-a"]).ok();
    let row = table.lines().nth(1).expect("a row");
    for cell in [&id[..12], "localhost/busybox", "\"sleep 100000\"", "ago", "Created", "web"] {
        assert!(row.contains(cell), "{row}");
    }
    assert_eq!(lines(&moat, &["ps", "-aq"]), [&id[..12]]);
    assert_eq!(lines(&moat, &["ps", "-aq", "--no-trunc"]), [id.as_str()]);
    let format = "{{.Names}} {{.State}} {{.Label \"team\"}} {{.Labels}} {{.Size}}";
    let line = &lines(&moat, &["container", "ls", "-a", "--format", format])[0];
    assert!(line.starts_with("web created a team=a,tier=1 0B (virtual "), "{line}");
    let sized = moat.run(["ps", "-as"]).ok();
    assert!(sized.lines().next().is_some_and(|header| header.ends_with("NAMES     SIZE")), "{sized}");
    let json: Value = serde_json::from_str(&moat.run(["ps", "-a", "--format", "json"]).ok()).expect("JSON");
    assert_eq!((&json["Names"], &json["LocalVolumes"]), (&Value::from("web"), &Value::from("0")));
    moat.run(["ps", "-a", "--format", "{{.Nope}}"])
        .code(1)
        .says(&["template parsing error", "can't evaluate field Nope"]);
    moat.run(["ps", "--format", "{{.ID"])
        .code(1)
        .says(&["template parsing error: template: :1: unclosed action"]);
}

#[test]
fn ps_filters() {
    let moat = root();
    for (name, labels) in
        [("one", ["team=a", "old"]), ("two", ["team=a", "new"]), ("three", ["team=b", "new"])]
    {
        create(&moat, &["--name", name, "-l", labels[0], "-l", labels[1]]);
    }
    let names = |filters: &[&str]| {
        let words: Vec<&str> = filters.iter().flat_map(|filter| ["-f", *filter]).collect();
        let words = ["ps", "-a", "--format", "{{.Names}}"].into_iter().chain(words).collect::<Vec<_>>();
        lines(&moat, &words).join(" ")
    };
    let id = lines(&moat, &["inspect", "-f", "{{.Id}}", "two"])[0].clone();
    for (filters, expected) in [
        (&[][..], "three two one"),
        (&["name=t"], "three two"),
        (&["name=^/?one$", "name=three"], "three one"),
        (&["name=^t[gh]"], "three"),
        (&["name=^(one|two)$"], "two one"),
        (&["name=^/(?i)TH[[:alpha:]]{2}e$"], "three"),
        (&["name=^\\w{3}$"], "two one"),
        (&["label=team=a"], "two one"),
        (&["label=team=a", "label=new"], "two"),
        (&["label=team=a", "name=o"], "two one"),
        (&["status=created"], "three two one"),
        (&["status=running", "status=exited"], ""),
        (&["before=two"], "one"),
        (&["since=one"], "three two"),
        (&["since=one", "before=three"], "two"),
        (&["ancestor=localhost/busybox"], "three two one"),
        (&["ancestor=localhost/nothing"], ""),
        (&["health=none"], "three two one"),
        (&["health=healthy"], ""),
        (&["exited=0"], ""),
        (&[&format!("id={id}")], "two"),
        (&[&format!("id={}", &id[..8])], "two"),
    ] {
        assert_eq!(names(filters), expected, "{filters:?}");
    }
    assert_eq!(lines(&moat, &["ps", "-l", "--format", "{{.Names}}"]), ["three"]);
    assert_eq!(lines(&moat, &["ps", "-n", "2", "--format", "{{.Names}}"]), ["three", "two"]);
    for (filter, part) in [
        ("name", "write KEY=VALUE"),
        ("colour=red", "invalid filter 'colour'"),
        ("status=tired", "invalid filter 'status=tired'"),
        ("exited=many", "invalid filter 'exited=many'"),
        ("name=^t[", "invalid filter 'name=^t[': error parsing regexp: missing closing ]: `[`"),
        ("id=(", "invalid filter 'id=(': error parsing regexp: missing closing ): `(`"),
        ("before=nobody", "No such container: nobody"),
    ] {
        moat.run(["ps", "-f", filter]).code(1).says(&[part]);
    }
}

#[test]
fn inspect_tells_everything() {
    let moat = root();
    let id = create(
        &moat,
        &[
            "--name",
            "web",
            "-m",
            "256m",
            "--cpus",
            "1.5",
            "--restart",
            "on-failure:3",
            "-e",
            "A=1",
            "--cap-add",
            "NET_ADMIN",
        ],
    );
    let web = inspect(&moat, "web");
    assert_eq!(web["Id"], id.as_str());
    assert_eq!(web["Name"], "/web");
    assert_eq!(web["State"]["Status"], "created");
    assert_eq!(web["HostConfig"]["Memory"], 256 << 20);
    assert_eq!(web["HostConfig"]["NanoCpus"], 1_500_000_000);
    assert_eq!(web["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 3);
    assert_eq!(web["Config"]["Cmd"], serde_json::json!(["sleep", "100000"]));
    assert!(web["State"].get("Health").is_none() && web.get("SizeRw").is_none());
    let size = moat.run(["inspect", "-s", "-f", "{{.SizeRw}} {{gt .SizeRootFs 1000}}", "web"]).ok();
    assert_eq!(size, "0 true\n");
    let env = moat.run(["inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", &id[..6]]).ok();
    assert!(env.contains("A=1\n"), "{env}");
    assert_eq!(moat.run(["container", "inspect", "-f", "{{.Name}}", "/web"]).ok(), "/web\n");

    let image = inspect(&moat, "localhost/busybox");
    assert_eq!(image["Id"], web["Image"]);
    assert_eq!(
        moat.run(["inspect", "--type", "image", "-f", "{{.Os}}", "localhost/busybox"]).ok(),
        "linux\n"
    );
    let both = moat.run(["inspect", "-f", "json", "web", "localhost/busybox"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&both).expect("JSON").as_array().map(Vec::len), Some(2));

    let missing = moat.run(["inspect", "nothing"]).code(1).says(&["No such object: nothing"]);
    assert_eq!(missing.text(), "[]\n");
    let half = moat.run(["inspect", "-f", "{{.Name}}", "nothing", "web"]).code(1);
    assert_eq!(half.text(), "/web\n");
    moat.run(["container", "inspect", "localhost/busybox"])
        .code(1)
        .says(&["No such container: localhost/busybox"]);
    moat.run(["image", "inspect", "web"]).code(1).says(&["No such image: web"]);
    moat.run(["inspect", "--type", "container", "nothing"]).code(1).says(&["No such container: nothing"]);
    moat.run(["inspect", "-f", "{{.Nope}}", "web"]).code(1).says(&["template parsing error"]);
}

#[test]
fn what_happens_is_told() {
    let moat = root();
    let mut follower = moat
        .command(["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("moat starts");
    let mut told = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    // The follower may begin a little late: containers are made until it tells of one.
    let mut probes = 0;
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        while let Some(Ok(line)) = told.next() {
            // A test that failed listens no more.
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    while receiver.try_recv().is_err() {
        probes += 1;
        create(&moat, &["--name", &format!("probe{probes}")]);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(probes < 200, "the follower tells nothing");
    }
    let id = create(&moat, &["--name", "web", "-l", "team=a"]);
    moat.run(["rename", "web", "shop"]).ok();
    moat.run(["update", "--restart", "always", "shop"]).ok();
    moat.run(["container", "rm", "shop"]).ok();
    let wanted = ["create web", "rename shop", "update shop", "destroy shop"];
    let mut seen = Vec::new();
    while seen.len() < wanted.len() {
        let line = receiver.recv_timeout(support::PATIENCE).expect("an event");
        if !line.contains("probe") {
            seen.push(line);
        }
    }
    assert_eq!(seen, wanted);
    support::kill_9(follower.id().cast_signed());
    follower.wait().expect("the follower ends");
    reader.join().expect("the reader ends");

    let past = |filters: &[&str]| {
        let words = ["events", "--since", "1h", "--until", "0s"].iter().chain(filters).copied();
        moat.run(words).ok()
    };
    let all = past(&["--filter", &format!("container={id}")]);
    let first = all.lines().next().expect("an event");
    let (time, rest) = first.split_once(' ').expect("a time");
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(rest, format!("container create {id} (image=localhost/busybox, name=web, team=a)"));
    assert_eq!(all.lines().count(), 4);
    assert_eq!(past(&["--filter", "event=rename"]).lines().count(), 1);
    assert_eq!(past(&["--filter", "label=team=b"]), "");
    moat.run(["tag", "localhost/busybox", "localhost/busy:2"]).ok();
    moat.run(["rmi", "localhost/busy:2"]).ok();
    moat.run(["network", "create", "shelf"]).ok();
    moat.run(["network", "rm", "shelf"]).ok();
    let format = ["--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"];
    let told = past(&[&["--filter", "type=image", "--filter", "event=tag"], &format[..]].concat());
    assert_eq!(told, "image tag localhost/busy:2\n");
    assert_eq!(past(&["--filter", "event=untag", "--format", "{{.Type}}"]), "image\n");
    let told = past(&[&["--filter", "network=shelf"], &format[..]].concat());
    assert_eq!(told, "network create shelf\nnetwork destroy shelf\n");
    moat.run(["events", "--filter", "shape=round"]).code(1).says(&["invalid filter 'shape'"]);
    moat.run(["events", "--since", "yesterday"]).code(1).says(&["how long ago"]);
}

#[test]
fn prune_asks_and_removes() {
    let moat = root();
    create(&moat, &["--name", "keep", "-l", "keep"]);
    let ids = [create(&moat, &["--name", "one"]), create(&moat, &["--name", "two"])];
    let asked = moat.run_with_input(["container", "prune"], b"n\n".to_vec()).code(1);
    assert!(asked.text().starts_with("WARNING! This will remove all stopped containers.\n"), "{asked:?}");
    assert!(asked.text().ends_with("Are you sure you want to continue? [y/N] "), "{asked:?}");
    asked.says(&["container prune has been cancelled"]);
    assert_eq!(moat.containers().len(), 3);
    let pruned = moat.run_with_input(["container", "prune", "--filter", "label!=keep"], b"y\n".to_vec()).ok();
    for part in ["Deleted Containers:\n", &ids[0], &ids[1], "\n\nTotal reclaimed space: 0B\n"] {
        assert!(pruned.contains(part), "{pruned}");
    }
    assert_eq!(
        moat.run(["container", "prune", "-f", "--filter", "until=1h"]).ok(),
        "Total reclaimed space: 0B\n"
    );
    assert_eq!(lines(&moat, &["ps", "-a", "--format", "{{.Names}}"]), ["keep"]);
    moat.run(["container", "prune", "-f"]).ok();
    moat.assert_clean();
}

#[test]
fn containers_that_do_not_run_say_so() {
    let moat = root();
    let id = create(&moat, &["--name", "web"]);
    moat.run(["top", "web"]).code(1).says(&["container web is not running"]);
    moat.run(["top", "web", "--forest"]).code(1).says(&["unknown ps option '--forest'"]);
    let stats =
        moat.run(["stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}", "web"]).ok();
    assert_eq!(stats, "web 0.00% 0B / 0B\n");
    assert_eq!(moat.run(["stats", "--no-stream"]).ok().lines().count(), 1);
    assert_eq!(moat.run(["stats", "-a", "--no-stream"]).ok().lines().count(), 2);
    moat.run(["stats", "nobody"]).code(1).says(&["No such container: nobody"]);
    assert_eq!(moat.run(["logs", "-f", "--tail", "0", "--details", &id]).ok(), "");
    assert_eq!(moat.run(["logs", "--since", "10m", "--until", "2026-01-02T15:04:05Z", "web"]).ok(), "");
    let info = moat.run(["info"]);
    assert!(info.text().contains("\n Containers: 1\n  Running: 0\n  Paused: 0\n  Stopped: 1\n"), "{info:?}");
}

/// What `ps` costs with many containers: two small files each, and no more than that grows with their number.
#[test]
fn a_thousand_containers_are_listed_quickly() {
    const MANY: usize = 1000;
    let moat = root();
    let id = create(&moat, &["--name", "original"]);
    let containers = moat.root().join("containers");
    // Copies of one record: making a thousand by `create` would test the file system of this machine.
    let record = |name: &str| std::fs::read_to_string(containers.join(&id).join(name)).expect("a record");
    let (config, state) = (record("config.json"), record("state.json"));
    for number in 1..MANY {
        let copy = format!("{number:064x}");
        let directory = containers.join(&copy);
        std::fs::create_dir(&directory).expect("a directory");
        let config = config.replace(&id, &copy).replace("original", &format!("copy{number}"));
        std::fs::write(directory.join("config.json"), config).expect("a config");
        std::fs::write(directory.join("state.json"), &state).expect("a state");
    }
    let began = Instant::now();
    assert_eq!(moat.run(["ps", "-a"]).ok().lines().count(), MANY + 1);
    let took = began.elapsed();
    // A bound for slow machines; it is a small part of a second on others.
    assert!(took.as_secs() < 10, "{took:?}");
    assert_eq!(names_in(&containers).len(), MANY);
    // The copies have no disks and no names; they go as they came.
    for number in 1..MANY {
        std::fs::remove_dir_all(containers.join(format!("{number:064x}"))).expect("removed");
    }
}
