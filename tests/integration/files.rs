//! Files in and out of containers: `cp`, `diff`, `export`, `commit`, whether the container runs or not.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Moat, finish, names_in, shared};

/// A container of busybox that is in the state that `how` names, with `name`.
fn container(moat: &Moat, how: &str, name: &str) {
    match how {
        "running" => drop(moat.sleeper(&["--name", name])),
        "created" => {
            drop(moat.run(["create", "--name", name, "localhost/busybox", "sleep", "100000"]).ok());
        }
        _ => drop(moat.run(["run", "--name", name, "localhost/busybox", "true"]).ok()),
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A tar's names, sorted.
fn names_of(tar: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), tar).expect("written");
    let output = Command::new("tar").arg("-tf").arg(file.path()).output().expect("tar runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn files_go_both_ways_in_every_state() {
    let moat = shared();
    let here = tempfile::tempdir().expect("a directory");
    let source = here.path().join("source");
    fs::write(&source, "content\n").expect("written");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o751)).expect("changed");
    for how in ["running", "created", "stopped"] {
        let name = format!("cp-{how}");
        container(moat, how, &name);
        let answer = moat.run(["cp", "--quiet=false", path(&source), &format!("{name}:/root/new")]).code(0);
        assert_eq!(answer.stderr, format!("Successfully copied 2.05kB to {name}:/root/new\n"), "{how}");
        assert_eq!(moat.run(["cp", path(&source), &format!("{name}:/tmp/")]).code(0).stderr, "", "{how}");
        let back = here.path().join(&name);
        moat.run(["cp", &format!("{name}:/root/new"), path(&back)]).ok();
        let metadata = fs::metadata(&back).expect("it is there");
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o751, 0, 0), "{how}");
        assert_eq!(fs::read(&back).expect("it is there"), b"content\n");
        let original = fs::metadata(&source).expect("it is there");
        assert_eq!(metadata.mtime(), original.mtime(), "{how}");
        // The same file through the container's own eyes, and after a start.
        if how != "running" {
            moat.run(["start", &name]).ok();
        }
        if how != "stopped" {
            let script = "cat /root/new /tmp/source; stat -c '%u %g %a' /root/new";
            let seen = moat.run(["exec", &name, "sh", "-c", script]).ok();
            assert_eq!(seen, "content\ncontent\n0 0 751\n", "{how}");
        }
        moat.run(["rm", "-f", &name]).ok();
    }
}

#[test]
fn directories_go_where_docker_puts_them() {
    let moat = shared();
    let here = tempfile::tempdir().expect("a directory");
    let tree = here.path().join("tree");
    fs::create_dir_all(tree.join("sub")).expect("made");
    fs::write(tree.join("a"), "a").expect("written");
    fs::write(tree.join("sub/b"), "b").expect("written");
    container(moat, "running", "cp-dirs");
    let shell = |script: &str| moat.run(["exec", "cp-dirs", "sh", "-c", script]).ok();
    let tree = path(&tree);
    // Into one that is there, to one that is not, and what is in it.
    shell("mkdir /there /contents");
    moat.run(["cp", tree, "cp-dirs:/there"]).ok();
    moat.run(["cp", tree, "cp-dirs:/absent"]).ok();
    moat.run(["cp", &format!("{tree}/."), "cp-dirs:/contents"]).ok();
    let found = shell("find /there /absent /contents | sort | tr '\\n' ' '");
    assert_eq!(
        found,
        "/absent /absent/a /absent/sub /absent/sub/b /contents /contents/a /contents/sub /contents/sub/b \
         /there /there/tree /there/tree/a /there/tree/sub /there/tree/sub/b "
    );
    // And back.
    let out = |name: &str| here.path().join(name);
    fs::create_dir(out("into")).expect("made");
    moat.run(["cp", "cp-dirs:/absent", path(&out("into"))]).ok();
    moat.run(["cp", "cp-dirs:/absent/.", path(&out("into"))]).ok();
    moat.run(["cp", "cp-dirs:absent", path(&out("fresh"))]).ok();
    assert_eq!(names_in(&out("into")), ["a", "absent", "sub"]);
    assert_eq!(names_in(&out("fresh")), ["a", "sub"]);
    assert_eq!(fs::read(out("fresh/sub/b")).expect("it is there"), b"b");
    // A second time over what is there.
    moat.run(["cp", "cp-dirs:/absent/.", path(&out("into"))]).ok();
    for (from, to, words) in [
        (tree, "cp-dirs:/there/tree/a", "cannot copy directory"),
        (path(&out("fresh/a")), "cp-dirs:/nothing/", "no such directory"),
        (path(&out("fresh/a")), "cp-dirs:/nothing/at/all", "No such container:path: cp-dirs:/nothing/at"),
        (path(&out("fresh/a")), "cp-dirs:/there/tree/a/", "not a directory"),
        (path(&out("fresh/a")), "cp-dirs:/dev/null", "must be a directory or a regular file"),
        ("cp-dirs:/nope", path(here.path()), "No such container:path: cp-dirs:/nope"),
        ("cp-dirs:/absent/a/", path(here.path()), "not a directory"),
        ("cp-dirs:/absent", path(&out("fresh/a")), "cannot copy directory"),
        ("cp-dirs:/absent/a", path(&out("no/such/place")), "invalid output path: directory"),
        ("cp-dirs:/absent/a", "/dev/null", "must be a directory or a regular file"),
        ("cp-dirs:/dev/null", path(here.path()), "it is a device"),
        ("/no/such/file", "cp-dirs:/", "no such file or directory"),
        ("nobody:/a", ".", "No such container: nobody"),
        ("cp-dirs:/a", "cp-dirs:/b", "copying between containers is not supported"),
        ("/a", "/b", "must specify at least one container source"),
    ] {
        moat.run(["cp", from, to]).code(1).says(&[words]);
    }
    // A directory never takes a file's place, nor the other way around.
    shell("mkdir -p /there/tree2; touch /there/tree3");
    fs::write(out("tree2"), "").expect("written");
    fs::create_dir(out("tree3")).expect("made");
    moat.run(["cp", path(&out("tree2")), "cp-dirs:/there"]).code(1);
    moat.run(["cp", path(&out("tree3")), "cp-dirs:/there"]).code(1);
    moat.run(["rm", "-f", "cp-dirs"]).ok();
}

#[test]
fn links_are_copied_and_followed_when_asked() {
    let moat = shared();
    let here = tempfile::tempdir().expect("a directory");
    let at = |name: &str| here.path().join(name);
    fs::write(at("file"), "behind").expect("written");
    symlink("file", at("link")).expect("made");
    fs::create_dir(at("dir")).expect("made");
    symlink(at("dir"), at("to-dir")).expect("made");
    container(moat, "running", "cp-links");
    let shell = |script: &str| moat.run(["exec", "cp-links", "sh", "-c", script]).ok();
    moat.run(["cp", path(&at("link")), "cp-links:/plain"]).ok();
    moat.run(["cp", "-L", path(&at("link")), "cp-links:/followed"]).ok();
    assert_eq!(shell("readlink /plain; cat /followed"), "file\nbehind");
    // A link in the container as the source, and as the destination.
    shell("mkdir /d; echo inside > /d/target; ln -s d/target /l; ln -s /d /ld; ln -s /d/later /dangling");
    moat.run(["cp", "cp-links:/l", path(&at("plain"))]).ok();
    moat.run(["cp", "-L", "cp-links:/l", path(&at("followed"))]).ok();
    moat.run(["cp", "cp-links:/ld/.", path(&at("dir"))]).ok();
    assert_eq!(fs::read_link(at("plain")).expect("a link"), Path::new("d/target"));
    assert_eq!(fs::read(at("followed")).expect("a file"), b"inside\n");
    assert!(names_in(&at("dir")).contains(&"target".to_owned()));
    moat.run(["cp", path(&at("file")), "cp-links:/l"]).ok();
    moat.run(["cp", path(&at("file")), "cp-links:/ld"]).ok();
    moat.run(["cp", path(&at("file")), "cp-links:/dangling"]).ok();
    assert_eq!(
        shell("readlink /l; readlink /ld; cat /d/target /d/file /d/later"),
        "d/target\n/d\nbehindbehindbehind"
    );
    // A link here as the destination leads where it leads.
    moat.run(["cp", "cp-links:/followed", path(&at("to-dir"))]).ok();
    assert_eq!(fs::read(at("dir/followed")).expect("a file"), b"behind");
    moat.run(["rm", "-f", "cp-links"]).ok();
}

/// A container whose files want to be somewhere else on the host (CVE-2018-15664 and its kind).
#[test]
fn nothing_is_written_beside_the_destination() {
    let moat = shared();
    let here = tempfile::tempdir().expect("a directory");
    let victim = here.path().join("victim");
    fs::create_dir(&victim).expect("made");
    fs::write(victim.join("file"), "mine").expect("written");
    container(moat, "running", "cp-hostile");
    let script = format!(
        "mkdir -p /h && cd /h && ln -s {0} out && ln -s {0}/file over && ln out hard && mkfifo pipe && \
         touch set && chown 5:6 set && chmod 6755 set",
        path(&victim)
    );
    moat.run(["exec", "cp-hostile", "sh", "-c", &script]).ok();
    let into = here.path().join("into");
    moat.run(["cp", "cp-hostile:/h", path(&into)]).ok();
    let metadata = fs::metadata(into.join("set")).expect("a file");
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o755, 0));
    assert!(fs::symlink_metadata(into.join("pipe")).expect("a pipe").file_type().is_fifo());
    // The links are there now; what is copied over them does not go through them.
    let script = "cd /h && rm out over && mkdir out && echo new > over && echo new > out/file";
    moat.run(["exec", "cp-hostile", "sh", "-c", script]).ok();
    moat.run(["cp", "cp-hostile:/h/.", path(&into)]).code(1).says(&["cannot overwrite non-directory"]);
    moat.run(["cp", "cp-hostile:/h/over", path(&into.join("over"))]).code(0);
    assert_eq!(names_in(&victim), ["file"]);
    let kept = here.path().join("kept");
    moat.run(["cp", "-a", "cp-hostile:/h/set", path(&kept)]).ok();
    let metadata = fs::metadata(&kept).expect("a file");
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o755, 5, 6));
    moat.run(["rm", "-f", "cp-hostile"]).ok();
}

#[test]
fn archives_go_through_standard_streams() {
    let moat = shared();
    container(moat, "running", "cp-streams");
    moat.run(["exec", "cp-streams", "sh", "-c", "mkdir -p /d/s; echo x > /d/s/f; ln /d/s/f /d/g"]).ok();
    let tar = moat.run(["cp", "cp-streams:/d", "-"]).code(0).stdout;
    assert_eq!(names_of(&tar), ["d/", "d/g", "d/s/", "d/s/f"]);
    let contents = moat.run(["cp", "cp-streams:/d/.", "-"]).code(0).stdout;
    assert_eq!(names_of(&contents), ["./", "./g", "./s/", "./s/f"]);
    moat.run(["exec", "cp-streams", "mkdir", "/again"]).ok();
    moat.run_with_input(["cp", "-", "cp-streams:/again"], tar.clone()).code(0);
    let script = "find /again | sort | tr '\\n' ' '; test /again/d/g -ef /again/d/s/f && echo one";
    let seen = moat.run(["exec", "cp-streams", "sh", "-c", script]).ok();
    assert_eq!(seen, "/again /again/d /again/d/g /again/d/s /again/d/s/f one\n");
    let onto = moat.run_with_input(["cp", "-", "cp-streams:/nothing"], tar.clone());
    onto.code(1).says(&["destination \"cp-streams:/nothing\" must be a directory"]);
    // Half an archive, and none.
    moat.run_with_input(["cp", "-", "cp-streams:/again"], tar[..700].to_vec()).code(1);
    moat.run_with_input(["cp", "-", "cp-streams:/again"], b"no tar".repeat(200)).code(1);
    // More than any buffer holds, there and back.
    let large: Vec<u8> = (0..20_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let here = tempfile::tempdir().expect("a directory");
    fs::write(here.path().join("large"), &large).expect("written");
    moat.run(["cp", path(&here.path().join("large")), "cp-streams:/large"]).ok();
    moat.run(["cp", "cp-streams:/large", path(&here.path().join("back"))]).ok();
    assert!(fs::read(here.path().join("back")).expect("a file") == large);
    moat.run(["rm", "-f", "cp-streams"]).ok();
}

#[test]
fn changes_are_listed() {
    let moat = shared();
    let script =
        "rm /etc/group; echo x > /new; echo y >> /etc/passwd; mkdir /dir; touch /dir/f; rm /new; touch /new2";
    moat.run(["run", "--name", "diffed", "localhost/busybox", "sh", "-c", script]).ok();
    let expected = ["A /dir", "A /dir/f", "A /new2", "C /etc", "C /etc/passwd", "D /etc/group"];
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(moat.run(["diff", "diffed"]).ok()), expected);
    moat.run(["rm", "diffed"]).ok();
    // Nothing done is nothing listed, and what the engine itself puts there is not the container's doing.
    container(moat, "created", "undiffed");
    assert_eq!(moat.run(["diff", "undiffed"]).ok(), "");
    moat.run(["start", "undiffed"]).ok();
    assert_eq!(moat.run(["diff", "undiffed"]).ok(), "");
    moat.run(["rm", "-f", "undiffed"]).ok();
    moat.run(["diff", "nobody"]).code(1).says(&["No such container: nobody"]);
}

#[test]
fn a_file_system_is_exported() {
    let moat = Moat::with(&["busybox"]);
    moat.run(["run", "--name", "exported", "localhost/busybox", "sh", "-c", "echo x > /new; rm /etc/group"])
        .ok();
    let tar = moat.run(["export", "exported"]).code(0).stdout;
    let names = names_of(&tar);
    assert!(names.contains(&"new".to_owned()) && names.contains(&"bin/busybox".to_owned()), "{names:?}");
    assert!(!names.contains(&"etc/group".to_owned()));
    assert!(!names.iter().any(|name| name.starts_with("proc/") && name != "proc/"), "{names:?}");
    let here = tempfile::tempdir().expect("a directory");
    let file = here.path().join("out.tar");
    moat.run(["export", "-o", path(&file), "exported"]).ok();
    assert_eq!(names_of(&fs::read(&file).expect("a file")), names);
    // What was exported is an image again.
    let id =
        moat.run_with_input(["import", "-c", "CMD [\"cat\", \"/new\"]", "-", "localhost/flat"], tar).ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(moat.run(["run", "--rm", "localhost/flat"]).ok(), "x\n");
    moat.run(["rm", "exported"]).ok();
    moat.assert_clean();
}

#[test]
fn what_is_committed_runs() {
    let moat = Moat::with(&["busybox"]);
    let script = "echo kept > /root/file; rm /etc/group; mkdir /d && ln /root/file /d/twin";
    let options = [
        "run",
        "--name",
        "work",
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "-l",
        "k=v",
        "--expose",
        "70",
        "localhost/busybox",
    ];
    moat.run(options.iter().chain(&["sh", "-c", script])).ok();
    let change = "CMD [\"cat\", \"/root/file\"]";
    let id = moat
        .run(["commit", "-a", "me", "-m", "why", "-c", change, "-c", "ENV B=2", "work", "localhost/new:1"])
        .ok();
    assert!(id.starts_with("sha256:") && id.trim().len() == 71, "{id}");
    moat.run(["rm", "work"]).ok();
    assert_eq!(moat.run(["run", "--rm", "localhost/new:1"]).ok(), "kept\n");
    let script = "test /root/file -ef /d/twin && test ! -e /etc/group && echo $A$B && pwd";
    assert_eq!(moat.run(["run", "--rm", "localhost/new:1", "sh", "-c", script]).ok(), "12\n/tmp\n");
    let shown = moat.run(["image", "inspect", "localhost/new:1"]).ok();
    for word in ["\"Author\": \"me\"", "\"Comment\": \"why\"", "\"k\": \"v\"", "\"70/tcp\": {}"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert_eq!(moat.run(["history", "-q", "localhost/new:1"]).ok().lines().next(), id.get(7..19));

    // Of a running one, and again on top of that; a container that did nothing gives an image too.
    let sleeper = moat.sleeper(&["--name", "sleeper"]);
    moat.run(["exec", "sleeper", "sh", "-c", "echo more > /more"]).ok();
    moat.run(["commit", "--pause=false", "sleeper", "localhost/more"]).ok();
    moat.run(["commit", "sleeper", "localhost/more"]).ok();
    moat.run(["rm", "-f", &sleeper]).ok();
    assert_eq!(moat.run(["run", "--rm", "localhost/more", "cat", "/more"]).ok(), "more\n");
    moat.run(["create", "--name", "idle", "localhost/more"]).ok();
    moat.run(["commit", "idle", "localhost/same"]).ok();
    moat.run(["rm", "idle"]).ok();
    assert_eq!(moat.run(["run", "--rm", "localhost/same", "cat", "/more"]).ok(), "more\n");
    moat.run(["commit", "-c", "RUN x", "nobody"]).code(1).says(&["not a change that can be made"]);
    moat.assert_clean();
}

/// What another tool makes of a committed image is what its container saw.
#[test]
fn what_is_committed_unpacks_elsewhere() {
    let moat = Moat::with(&["busybox"]);
    let script = "rm -rf /opt /home; mkdir /home && echo 1 > /home/only; rm /etc/group; echo x > /etc/new; \
                  cd /root && echo l > a && ln a b && ln -s a c && mkfifo p && mknod n c 1 3 && chmod 4711 a && \
                  chown 12:34 b && touch -d '2001-02-03 04:05:06' b && mkdir -m 1750 m && echo > $'odd\\n name'; \
                  setfattr -n user.moat -v yes /root/a 2>/dev/null; true";
    moat.run(["run", "--name", "work", "localhost/busybox", "sh", "-c", script]).ok();
    moat.run(["commit", "work", "localhost/new:1"]).ok();
    let here = tempfile::tempdir().expect("a directory");
    let archive = here.path().join("image.tar");
    moat.run(["save", "-o", path(&archive), "localhost/new:1"]).ok();
    let (layout, bundle) = (here.path().join("layout"), here.path().join("bundle"));
    let copy =
        ["copy", "-q", &format!("docker-archive:{}", path(&archive)), &format!("oci:{}:x", path(&layout))];
    run_tool("skopeo", &copy);
    run_tool(
        "umoci",
        &["--log", "error", "unpack", "--image", &format!("{}:x", path(&layout)), path(&bundle)],
    );
    let seen = here.path().join("seen");
    fs::create_dir(&seen).expect("made");
    let exported = moat.run(["export", "work"]).code(0).stdout;
    fs::write(here.path().join("export.tar"), exported).expect("written");
    let tar = path(&here.path().join("export.tar")).to_owned();
    run_tool("tar", &["-xpf", &tar, "--xattrs", "--xattrs-include=*", "-C", path(&seen)]);
    let (ours, theirs) = (facts(&seen), facts(&bundle.join("rootfs")));
    assert!(theirs.len() > 10, "nothing was unpacked");
    for (name, facts) in &theirs {
        assert_eq!(Some(facts), ours.get(name), "{name}");
    }
    // Where the engine mounts something there is a place for it, which is no change of the user's.
    let places = ["dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
    let more = ours.keys().filter(|name| !theirs.contains_key(*name));
    let more: Vec<_> =
        more.filter(|name| !places.iter().any(|place| **name == format!("{place:?}"))).collect();
    assert!(more.is_empty(), "{more:?}");
    moat.run(["rm", "work"]).ok();
}

fn run_tool(tool: &str, args: &[&str]) {
    let mut command = Command::new(tool);
    finish(command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).code(0);
}

/// What is the same for a path in two trees, or is not: mode, owners, device, links, size or target, time of a file.
fn facts(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            let kind = metadata.file_type();
            let content = match kind {
                kind if kind.is_dir() => {
                    todo.push(path.clone());
                    String::new()
                }
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).expect("a link")),
                kind if kind.is_file() => format!("{} {}", metadata.len(), metadata.mtime()),
                kind if kind.is_char_device() => metadata.rdev().to_string(),
                _ => String::new(),
            };
            let links = if kind.is_dir() { 0 } else { metadata.nlink() };
            let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
            let name = path.strip_prefix(root).map_or(OsStr::new(""), Path::as_os_str);
            all.insert(format!("{name:?}"), format!("{mode:o} {uid}:{gid} {links} {content}"));
        }
    }
    all
}
