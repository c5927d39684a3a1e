//! What is printed as JSON has the keys that Docker's has. `docker/*.txt` are the keys that Docker 26.1 answered for a
//! running container with a published port, a volume, a health check and a label, its image and its network; a `*` is a
//! place in a list or a key of a map.

use std::path::Path;

use serde_json::Value;

use crate::client::Client;
use crate::support::image_archive;

/// A key of Docker's below something that Moat's JSON has, which Moat's JSON does not have.
fn missing(recorded: &str, object: &Value) -> (usize, Vec<String>) {
    let (mut compared, mut missing) = (0, Vec::new());
    // The container of the test does not run, so it has no health.
    for path in recorded.lines().filter(|path| !path.starts_with("/State/Health")) {
        let (parent, key) = path.rsplit_once('/').expect("a path");
        let parents = at(object, parent);
        let objects = parents.iter().filter_map(|value| value.as_object());
        // What a container that does not run lacks, such as addresses, is an empty map or list above the key.
        for object in objects.filter(|object| !object.is_empty() && key != "*") {
            compared += 1;
            if !object.contains_key(key) {
                missing.push(path.to_owned());
            }
        }
    }
    (compared, missing)
}

/// The values at a path, whose `*` stands for each element.
fn at<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![value];
    for key in path.split('/').skip(1) {
        found = found
            .into_iter()
            .flat_map(|value| match (value, key) {
                (Value::Array(all), "*") => all.iter().collect(),
                (Value::Object(all), "*") => all.values().collect(),
                (value, key) => value.get(key).into_iter().collect::<Vec<_>>(),
            })
            .collect();
    }
    found
}

#[test]
fn json_has_dockers_keys() {
    let client = Client::new();
    let archive = image_archive("busybox", "docker");
    client.run(["load", "-qi", archive.to_str().expect("a UTF-8 path")]).ok();
    let image = "localhost/busybox";
    let words = ["create", "--name", "box", "-p", "8080:80", "--health-cmd", "true", "--label", "a=b", image];
    client.run(words).ok();
    for (name, words, least) in [
        ("container", &["inspect", "box"][..], 140),
        ("image", &["image", "inspect", image], 35),
        ("network", &["network", "inspect", "bridge"], 20),
        ("info", &["info", "--format", "json"], 80),
        ("version", &["version", "--format", "json"], 30),
        ("ps", &["ps", "-a", "--format", "json"], 15),
        ("images", &["images", "--format", "json"], 11),
        ("networks", &["network", "ls", "--format", "json"], 9),
        ("stats", &["stats", "-a", "--no-stream", "--format", "json"], 9),
        ("history", &["history", "--format", "json", image], 6),
        ("df", &["system", "df", "--format", "json"], 5),
    ] {
        let text = client.run(words.iter().copied()).ok();
        // A list has one object on each line, or is an array.
        let first = serde_json::Deserializer::from_str(&text).into_iter::<Value>().next().expect("a value");
        let mut object = first.expect("JSON");
        if let Value::Array(all) = &mut object {
            object = all.remove(0);
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/registry/docker/{name}.txt"));
        let recorded = std::fs::read_to_string(path).expect("recorded keys");
        let (compared, missing) = missing(&recorded, &object);
        assert_eq!(missing, Vec::<String>::new(), "{name}: {object}");
        assert!(compared >= least, "{name}: only {compared} keys were compared");
    }
}

/// The expectations are what Docker 26.1 printed, but for ids and times.
#[test]
fn raw_lists_and_templates_are_dockers() {
    let client = Client::new();
    let archive = image_archive("busybox", "docker");
    client.run(["load", "-qi", archive.to_str().expect("a UTF-8 path")]).ok();
    let create =
        ["create", "--name", "box", "--label", "a=b", "--health-cmd", "true", "--health-interval", "90s"];
    client
        .run(create.into_iter().chain(["--health-timeout", "1500ms", "localhost/busybox", "sleep", "9"]))
        .ok();
    let lines = |words: &[&str]| -> Vec<String> {
        let text = client.run(words.iter().copied()).ok();
        text.lines().map(|line| line.split_once(": ").map_or(line, |(key, _)| key).to_owned()).collect()
    };
    let container = [
        "container_id",
        "image",
        "command",
        "created_at",
        "state",
        "status",
        "names",
        "labels",
        "ports:",
        "",
    ];
    assert_eq!(lines(&["ps", "-a", "--format", "raw"]), container);
    assert_eq!(lines(&["ps", "-aq", "--format", "raw"]), ["container_id"]);
    assert_eq!(
        lines(&["images", "--format", "raw"]),
        ["repository", "tag", "image_id", "created_at", "virtual_size", ""]
    );
    assert_eq!(
        lines(&["network", "ls", "--format", "raw"])[..5],
        ["network_id", "name", "driver", "scope", ""]
    );
    let inspect = |format: &str| client.run(["inspect", "--format", format, "box"]).ok();
    let interval = "{{with .Config.Healthcheck}}{{.Interval}} {{.Timeout}} {{json .Interval}}{{end}}";
    assert_eq!(inspect(interval), "1m30s 1.5s 90000000000\n");
    assert_eq!(inspect("{{define \"x\"}}<{{.}}>{{end}}{{template \"x\" .Name}}"), "</box>\n");
    assert_eq!(inspect("{{html \"<a&b>\"}} {{urlquery \"a b&c\"}}"), "&lt;a&amp;b&gt; a+b%26c\n");
    assert_eq!(inspect("{{.Config.Labels.none}}"), "<no value>\n");
    client.run(["inspect", "--format", "{{.nope}}", "box"]).code(1).says(&["at <.nope>"]);
    client.run(["ps", "-a", "--format", "{{.Foo}}"]).code(1).says(&["at <.Foo>: can't evaluate field Foo"]);
    assert_eq!(client.run(["ps", "-a", "--format", "{{.Platform}}"]).ok(), "<nil>\n");
    let types = client.run(["system", "df", "--format", "{{.Type}}"]).ok();
    assert_eq!(types, "Images\nContainers\nLocal Volumes\nBuild Cache\n");
}
