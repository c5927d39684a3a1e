//! Images in and out of the store: what other people's tools make, what is broken, and what interrupts.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use sha2::{Digest, Sha256};

#[path = "../support/disk.rs"]
mod disk;
#[path = "../support/mod.rs"]
mod support;

use disk::SmallDisk;
use support::{Answer, BadImage, Moat, bad_images, eventually, image_archive, kill_9, names_in};

const FORMATS: [&str; 5] = ["docker", "docker-gz", "oci", "oci-plain", "oci-zstd"];

/// Loads the archive at `path`.
fn load(moat: &Moat, path: &Path) -> Answer {
    moat.run(["load", "-i", path.to_str().expect("a UTF-8 path")])
}

/// Everything below a directory.
fn tree(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![directory.to_owned()];
    while let Some(directory) = ahead.pop() {
        for name in names_in(&directory) {
            let path = directory.join(name);
            if path.is_dir() {
                ahead.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

fn blobs(moat: &Moat) -> Vec<String> {
    names_in(&moat.root().join("images/blobs/sha256"))
}

#[test]
fn every_format_gives_the_same_layers() {
    for image in ["busybox", "nginx"] {
        let moat = Moat::empty();
        let mut layers = BTreeSet::new();
        for format in FORMATS {
            let answer = load(&moat, &image_archive(image, format)).ok();
            assert!(answer.ends_with(&format!("Loaded image: localhost/{image}:latest\n")), "{answer}");
            let name = format!("localhost/{image}");
            layers.insert(moat.run(["image", "inspect", "-f", "{{json .RootFS.Layers}}", &name]).ok());
        }
        assert_eq!(layers.len(), 1, "{image}: {layers:?}");
    }
}

#[test]
fn standard_input_is_as_good_as_a_file() {
    let moat = Moat::empty();
    let archive = std::fs::read(image_archive("busybox", "docker-gz")).expect("an archive");
    let answer = moat.run_with_input(["load"], archive).ok();
    assert_eq!(answer, "Loaded image: localhost/busybox:latest\n");
    moat.run(["load"]).code(1).says(&["the archive is empty"]);
    moat.run(["load", "-i", "/nowhere"]).code(1).says(&["cannot load /nowhere", "No such file"]);
}

#[test]
fn other_tools_read_what_is_saved() {
    let moat = Moat::with(&["busybox", "nginx"]);
    let layout = moat.root().join("layout");
    let layout = layout.to_str().expect("a UTF-8 path");
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().expect("the program runs");
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let archive = moat.root().join("saved.tar");
    let archive = archive.to_str().expect("a UTF-8 path");
    moat.run(["save", "-o", archive, "localhost/busybox", "localhost/nginx"]).ok();
    std::fs::create_dir(layout).expect("a directory");
    run("tar", &["-xf", archive, "-C", layout]);
    assert_eq!(
        run("umoci", &["ls", "--layout", layout]),
        "localhost/busybox:latest\nlocalhost/nginx:latest\n"
    );
    let unpacked = moat.root().join("unpacked");
    let image = format!("{layout}:localhost/busybox:latest");
    run("umoci", &["unpack", "--image", &image, unpacked.to_str().expect("a UTF-8 path")]);
    assert!(unpacked.join("rootfs/bin/busybox").exists());
    // Copying it verifies every digest.
    let copy = format!("dir:{}", moat.root().join("copy").display());
    let image = format!("oci:{layout}:localhost/nginx:latest");
    run("skopeo", &["--insecure-policy", "copy", "-q", &image, &copy]);
}

#[test]
fn images_come_and_go_as_dockers_do() {
    let moat = Moat::with(&["busybox"]);
    let table = moat.run(["images"]).ok();
    let id = moat.run(["images", "-q"]).ok().trim().to_owned();
    let columns: Vec<&str> =
        table.lines().next().expect("a header").split("  ").filter(|c| !c.is_empty()).collect();
    assert_eq!(
        columns.iter().map(|c| c.trim()).collect::<Vec<_>>(),
        ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    );
    assert!(table.lines().nth(1).is_some_and(|line| line.contains(&id) && line.ends_with("MB")), "{table}");
    let names = moat.run(["images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/*"]).ok();
    assert_eq!(names, "localhost/busybox:latest\n");
    for pattern in ["localhost/[a-c]*", "reference=localhost/busybo[^y]"] {
        let filter = if pattern.contains('=') { "--filter" } else { "--" };
        assert_eq!(moat.run(["images", "-q", filter, pattern]).ok().trim(), id, "{pattern}");
    }
    moat.run(["images", "localhost/["]).code(1).says(&["syntax error in pattern"]);
    let sizes = "{{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.VirtualSize}} {{.Size}}";
    let sizes = moat.run(["images", "--format", sizes]).ok();
    let words: Vec<&str> = sizes.split_whitespace().collect();
    assert!(words[..3] == ["N/A"; 3] && words[3] == words[4], "{sizes}");
    moat.run(["images", "--format", "{{.Nope}}"]).code(1).says(&["can't evaluate field Nope"]);

    let full = moat.run(["image", "inspect", "-f", "{{.Id}}", &id]).ok();
    let inspected: serde_json::Value =
        serde_json::from_str(&moat.run(["image", "inspect", "localhost/busybox"]).ok()).expect("JSON");
    assert_eq!(inspected[0]["Id"].as_str(), Some(full.trim()));
    assert_eq!(inspected[0]["Config"]["Cmd"], serde_json::json!(["sh"]));

    let answer = moat.run(["rmi", &id, "nowhere"]).code(1).says(&["No such image: nowhere:latest"]);
    assert!(
        answer.text().starts_with(&format!("Untagged: localhost/busybox:latest\nDeleted: {full}")),
        "{answer:?}"
    );
    assert_eq!(moat.run(["images", "-q"]).ok(), "");
    assert_eq!(blobs(&moat), [""; 0]);
    assert_eq!(names_in(&moat.root().join("indexes")), [""; 0]);
}

#[test]
fn broken_archives_are_refused_and_leave_nothing() {
    let moat = Moat::empty();
    let directory = moat.root().join("bad");
    let cases = bad_images(&directory);
    // The first command makes the root directory's frame.
    moat.run(["images"]).ok();
    let before = tree(moat.root());
    for BadImage { name, file, wrong, expect, stage } in cases {
        let path = directory.join(file);
        let answer = load(&moat, &path);
        let what = format!("{name} ({wrong}): {answer:?}");
        assert!(!answer.stderr.contains("panicked"), "{what}");
        match (answer.code, expect.as_str(), stage.as_str()) {
            (0, "error", "load") | (1, "ok", _) => panic!("{what}"),
            (0, ..) => _ = moat.run(["rmi", &format!("localhost/bad-{name}:latest")]),
            (1, ..) => assert!(
                answer.stderr.starts_with(&format!("moat: cannot load {}: ", path.display())),
                "{what}"
            ),
            _ => panic!("{what}"),
        }
        // Some of the good ones have another name or none.
        let rest = moat.run(["images", "-q"]).ok();
        if !rest.is_empty() {
            moat.run(["rmi", "-f"].into_iter().chain(rest.lines())).ok();
        }
        let mut after = tree(moat.root());
        // What happened is told, and the first removal notes which containers have which image: that is all that stays.
        let told = ["containers.lock", "events", "events.lock", "users/format.json"];
        let told = told.map(|name| moat.root().join(name));
        after.retain(|path| !told.contains(path));
        assert_eq!(after, before, "{what}");
    }
    for escaped in ["/tmp/moat-bad-escape", "/moat-bad-escape"] {
        assert!(!Path::new(escaped).exists(), "{escaped}");
    }
}

#[test]
fn a_killed_load_leaves_nothing_after_the_next_command() {
    let moat = Moat::with(&["busybox"]);
    let before = tree(moat.root());
    let archive = std::fs::read(image_archive("nginx", "oci")).expect("an archive");
    for part in [1, 2, 3] {
        let mut child =
            moat.command(["load"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("moat starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(&archive[..archive.len() / 4 * part]).expect("it reads");
        // It waits for the rest of the archive now.
        let staging = moat.root().join("staging");
        eventually("something to be staged", || !names_in(&staging).is_empty());
        kill_9(child.id().cast_signed());
        child.wait().expect("reaped");
        assert_ne!(names_in(&staging), [""; 0]);
        moat.run(["images"]).ok();
        assert_eq!(tree(moat.root()), before);
    }
}

#[test]
fn a_command_beside_a_load_leaves_its_files_alone() {
    let moat = Moat::empty();
    let archive = std::fs::read(image_archive("busybox", "docker")).expect("an archive");
    let mut child =
        moat.command(["load"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("moat starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&archive[..archive.len() / 2]).expect("it reads");
    eventually("something to be staged", || !names_in(&moat.root().join("staging")).is_empty());
    assert_eq!(moat.run(["images", "-q"]).ok(), "");
    load(&moat, &image_archive("busybox", "docker")).ok();
    stdin.write_all(&archive[archive.len() / 2..]).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("reaped").success());
    assert_eq!(moat.run(["images", "-q"]).ok().lines().count(), 1);
}

/// Bytes that no compression makes smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A tar of these files.
fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &content[..]).expect("a tar");
    }
    tar.into_inner().expect("a tar")
}

/// What `docker save` would write of an image with so many layers, each of so many bytes.
fn many_layers(count: usize, length: usize) -> Vec<u8> {
    let layers: Vec<Vec<u8>> =
        (0..count).map(|i| tar_of(&[("file".to_owned(), noise(i as u64, length))])).collect();
    let digest = |bytes: &[u8]| -> String {
        let digits = Sha256::digest(bytes);
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let names: Vec<String> = (0..count).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": ["many:1"], "Layers": names}]);
    let mut files: Vec<(String, Vec<u8>)> = names.into_iter().zip(layers).collect();
    files.push(("config.json".to_owned(), config.to_string().into_bytes()));
    files.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    tar_of(&files)
}

#[test]
fn a_full_disk_is_told_and_left_as_it_was() {
    let moat = Moat::empty();
    let disk = SmallDisk::mount(moat.root().join("small"));
    let root = disk.path();
    moat.run(["--root", root, "images"]).ok();
    let before = tree(&disk.0);
    let many = moat.root().join("many.tar");
    std::fs::write(&many, many_layers(20, 2 << 20)).expect("an archive");
    for archive in [image_archive("debian", "docker"), image_archive("debian", "oci-zstd"), many] {
        let answer = moat.run(["--root", root, "load", "-i", archive.to_str().expect("a UTF-8 path")]);
        answer.code(1).says(&["not enough room in", "are to stay so", "free space there", "--root"]);
        assert_eq!(tree(&disk.0), before);
    }
}

/// What a command prints to a terminal.
fn on_terminal(mut command: Command) -> String {
    let pty = nix::pty::openpty(None, None).expect("a pty");
    command.stdin(Stdio::null()).stdout(Stdio::from(pty.slave));
    let mut child = command.spawn().expect("moat starts");
    // The last copy of the terminal's end but the child's.
    drop(command);
    let mut master = std::fs::File::from(pty.master);
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    // The end of a terminal is an error.
    while let Ok(count @ 1..) = std::io::Read::read(&mut master, &mut buffer) {
        seen.extend(&buffer[..count]);
    }
    assert!(child.wait().expect("it ends").success());
    String::from_utf8(seen).expect("UTF-8").replace("\r\n", "\n")
}

/// Programs get text as it is, JSON is JSON, and on a terminal and in a table nothing of it acts.
#[test]
fn hostile_text_acts_on_no_terminal() {
    let moat = Moat::with(&["busybox"]);
    let hostile = "\u{9b}31m\u{1b}[1m\u{202e}x\ny\tz";
    moat.run(["create", "--name", "box", "--label", &format!("l={hostile}"), "localhost/busybox"]).ok();
    let acts = |text: &str| text.contains(['\u{9b}', '\u{1b}', '\u{202e}']);
    let text = ["inspect", "-f", "{{.Config.Labels.l}}", "box"];
    assert_eq!(moat.run(text).ok(), format!("{hostile}\n"));
    assert_eq!(on_terminal(moat.command(text)), "\u{fffd}31m\u{fffd}[1m\u{fffd}x\ny\tz\n");
    for json in [&["inspect", "box"][..], &["inspect", "-f", "{{json .Config.Labels}}", "box"]] {
        let answer = moat.run(json).ok();
        assert!(!acts(&answer) && answer.contains(r"\u009b31m\u001b[1m\u202ex\ny\tz"), "{answer}");
        assert!(!acts(&on_terminal(moat.command(json))));
    }
    for table in [r"table {{.Names}}\t{{.Labels}}", r#"table {{.Label "l"}}"#] {
        let answer = moat.run(["ps", "-a", "--format", table]).ok();
        assert!(!acts(&answer) && answer.contains('\u{fffd}'), "{answer}");
    }
    for command in
        [&["ps", "-a", "--format", r#"{{.Label "l"}}"#][..], &["events", "--since", "1h", "--until", "0s"]]
    {
        assert!(!acts(&on_terminal(moat.command(command))), "{command:?}");
    }
}

/// A root that others could have filled is not believed.
#[test]
fn a_root_of_others_is_refused() {
    let moat = Moat::empty();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(moat.root(), mode(0o1777)).expect("changed");
    moat.run(["images"]).code(1).says(&[
        "as the root directory",
        "others can write to it (its mode is 1777)",
        "`chmod 700`",
    ]);
    std::fs::set_permissions(moat.root(), mode(0o700)).expect("changed");
    moat.run(["images"]).ok();
    std::os::unix::fs::chown(moat.root(), Some(4711), None).expect("changed");
    moat.run(["images"]).code(1).says(&["as the root directory", "belongs to user 4711"]);
    std::os::unix::fs::chown(moat.root(), Some(0), None).expect("changed");
}
