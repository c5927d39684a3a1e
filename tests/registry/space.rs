//! Space: what is counted, what is removed, and what is not.

use std::io::Read;

use crate::client::Client;
use crate::disk::SmallDisk;
use crate::liar::{Image, Liar, Reply, digest};
use crate::support::image_archive;

#[test]
fn what_nobody_needs_goes() {
    let client = Client::new();
    let (one, two) = (
        Liar::start(Image::new(10), |_, _| Reply::Honest),
        Liar::start(Image::new(20), |_, _| Reply::Honest),
    );
    for liar in [&one, &two] {
        client.run(["pull", "-q", &liar.name()]).ok();
    }
    client.run(["create", &one.name()]).ok();
    let answer = client.run(["image", "prune", "-f"]).ok();
    assert_eq!(answer, "Total reclaimed space: 0B\n");
    assert_eq!(client.run(["image", "prune", "-af", "--filter", "label=keep"]).ok(), answer);
    client.run(["image", "prune", "-a"]).code(1).says(&["image prune has been cancelled"]);
    let answer = client.run(["image", "prune", "-af"]).ok();
    assert!(answer.starts_with(&format!("Deleted Images:\nuntagged: {}\n", two.name())), "{answer}");
    assert!(answer.contains(&format!("deleted: {}\n", digest(&two.image.config))), "{answer}");
    assert_eq!(client.run(["images", "-q", "--no-trunc"]).ok(), digest(&one.image.config) + "\n");
    let answer = client.run(["system", "prune", "-af"]).ok();
    assert!(answer.starts_with("Deleted Containers:\n") && answer.contains("Deleted Images:\n"), "{answer}");
    assert_eq!(client.blobs(), Vec::<String>::new());
    client.assert_sound();
}

#[test]
fn what_is_shared_counts_once() {
    let client = Client::new();
    let archive = image_archive("busybox", "docker");
    client.run(["load", "-qi", archive.to_str().expect("a UTF-8 path")]).ok();
    let images = |client: &Client| {
        let lines =
            client.run(["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}"]).ok();
        lines.lines().next().expect("a line").to_owned()
    };
    let before = images(&client);
    assert!(before.starts_with("Images 1 0 2."), "{before}");
    client.run(["tag", "localhost/busybox", "other"]).ok();
    assert_eq!(images(&client), before);
    client.run(["create", "other"]).ok();
    assert_eq!(images(&client), before.replace("Images 1 0", "Images 1 1"));
    let table = client.run(["system", "df"]).ok();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = table.lines().map(words);
    assert_eq!(lines.next().expect("a head"), ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!(lines.next().expect("images")[4..], ["0B", "(0%)"]);
    let verbose = client.run(["system", "df", "-v"]).ok();
    for head in [
        "REPOSITORY TAG IMAGE ID CREATED SIZE SHARED SIZE UNIQUE SIZE CONTAINERS",
        "CONTAINER ID IMAGE COMMAND LOCAL VOLUMES SIZE CREATED STATUS NAMES",
    ] {
        let found = verbose.lines().any(|line| words(line).join(" ") == head);
        assert!(found, "{head}: {verbose}");
    }
    let tree = client.run(["images", "--tree"]).ok();
    assert!(tree.contains("└─ linux/amd64") && tree.contains("other:latest"), "{tree}");
}

#[test]
fn what_used_images_share_is_kept_once() {
    let client = Client::new();
    let first = Image::new(1_000_000);
    let mut config: serde_json::Value = serde_json::from_slice(&first.config).expect("JSON");
    config["author"] = "an author".into();
    let config = config.to_string().into_bytes();
    let manifest = Image::manifest(&config, serde_json::json!([Image::describe(&first.layer)]));
    let second = Image { config, manifest: manifest.to_string().into_bytes(), ..first.clone() };
    for (image, used) in [(first, true), (second, true), (Image::new(500_000), false)] {
        let liar = Liar::start(image, |_, _| Reply::Honest);
        client.run(["pull", "-q", &liar.name()]).ok();
        if used {
            client.run(["create", &liar.name()]).ok();
        }
    }
    // The third image: its layer as it came, and the tar in it.
    let lines = client.run(["system", "df", "--format", "{{.TotalCount}} {{.Active}} {{.Reclaimable}}"]).ok();
    assert!(lines.starts_with("3 2 1.0") && lines.contains("MB (33%)\n"), "{lines}");
}

#[test]
fn what_a_small_disk_cannot_take_is_refused_before_it_is_full() {
    let client = Client::new();
    let disk = SmallDisk::mount(client.moat.root().join("small"));
    let run = |args: &[&str]| client.run(["--root", disk.path()].iter().chain(args));
    let words = ["not enough room in", "are to stay so", "free space there"];
    // Twenty megabytes as they come, and as many when they are unpacked.
    let liar = Liar::start(Image::new(20_000_000), |_, _| Reply::Honest);
    run(&["pull", &liar.name()]).code(1).says(&words);
    assert_eq!(run(&["image", "prune", "-f"]).ok().lines().count(), 1);
    // A layer that is compressed for the push.
    let files = client.moat.root().join("files.tar");
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&liar.image.layer[..]).read_to_end(&mut tar).expect("a tar");
    std::fs::write(&files, tar).expect("a file");
    run(&["import", files.to_str().expect("a UTF-8 path"), &liar.name()]).ok();
    run(&["push", &liar.name()]).code(1).says(&words);
    run(&["system", "check"]).ok();
}

#[test]
fn damage_is_found() {
    let (client, liar) = (Client::new(), Liar::start(Image::new(10_000), |_, _| Reply::Honest));
    client.run(["pull", "-q", &liar.name()]).ok();
    let answer = client.run(["system", "check"]).ok();
    assert!(answer.starts_with("1 images, 5 blobs, ") && answer.ends_with(": all sound\n"), "{answer}");
    let path = client.moat.root().join("images/blobs/sha256").join(&digest(&liar.image.layer)[7..]);
    let mut layer = std::fs::read(&path).expect("the layer");
    layer[100] ^= 1;
    std::fs::remove_file(&path).expect("the layer");
    std::fs::write(&path, layer).expect("the layer");
    let answer = client.run(["system", "check"]).code(1);
    assert!(answer.text().ends_with(": 1 damaged\n"), "{}", answer.text());
    answer.says(&["its digest is sha256:", &digest(&liar.image.layer)[7..]]);
}

#[test]
fn images_are_found_by_age() {
    let client = Client::new();
    for (name, day) in [("old", 1), ("middle", 2), ("new", 3)] {
        let mut image = Image::new(day);
        let mut config: serde_json::Value = serde_json::from_slice(&image.config).expect("JSON");
        config["created"] = format!("2024-01-0{day}T00:00:00Z").into();
        image.config = config.to_string().into_bytes();
        let layers = serde_json::json!([Image::describe(&image.layer)]);
        image.manifest = Image::manifest(&image.config, layers).to_string().into_bytes();
        let liar = Liar::start(image, |_, _| Reply::Honest);
        client.run(["pull", "-q", &liar.name()]).ok();
        client.run(["tag", &liar.name(), name]).ok();
        client.run(["rmi", &liar.name()]).ok();
    }
    let list = |filter: &str| client.run(["images", "--format", "{{.Repository}}", "--filter", filter]).ok();
    assert_eq!(list("before=middle"), "old\n");
    assert_eq!(list("since=middle"), "new\n");
    client.run(["images", "--filter", "since=nothing"]).code(1).says(&["No such image: nothing:latest"]);
}
