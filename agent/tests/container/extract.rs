//! Archives unpacked in a container.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use moat_protocol::{ArchiveFailure, ArchiveTask};
use moat_test_harness::{Test, tests};
use tar::EntryType;

use crate::machine::{Machine, REQUEST, shell, tmpfs};
use crate::tar::Making;

pub const TESTS: &[Test] = tests![
    everything_is_as_the_archive_has_it,
    a_running_container_sees_what_was_unpacked_where_it_sees_it,
    what_is_there_is_replaced_or_refused,
    nothing_leads_out_of_the_directory,
    links_of_the_image_are_followed_inside,
    bad_archives_are_told_and_cost_nothing,
    a_full_disk_is_told_with_the_path,
    an_endless_archive_keeps_nobody_waiting,
];

/// Owners as the tar has them; every existing file is replaced.
const AS_IT_IS: (bool, bool) = (true, false);

fn metadata(machine: &Machine, name: &str) -> fs::Metadata {
    fs::symlink_metadata(machine.upper().join(name)).unwrap()
}

fn everything() -> Vec<u8> {
    let long = format!("dir/{}", "n".repeat(180));
    Making::new()
        .directory("dir/", 0o750)
        .records(&[
            ("mtime", b"1000000000.5"),
            ("SCHILY.xattr.user.note", b"x\0y"),
            ("SCHILY.xattr.bogus", b"z"),
        ])
        .file("./dir//file", 0o6755, b"contents")
        .hard_link("dir/again", "dir/file")
        .symlink("dir/link", "../../outside")
        .entry("dir/null", EntryType::Char, "", 0o666, b"")
        .entry("dir/fifo", EntryType::Fifo, "", 0o640, b"")
        .records(&[("path", long.as_bytes())])
        .file("short", 0o600, b"long")
        .file("made/on/the/way", 0o644, b"")
        .bytes()
}

fn everything_is_as_the_archive_has_it() {
    let mut machine = Machine::boot(|_| {});
    machine.write("/tmp", AS_IT_IS, &everything()).unwrap();
    let file = metadata(&machine, "tmp/dir/file");
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid(), file.nlink()), (0o6755, 1234, 5678, 2));
    assert_eq!((file.mtime(), file.mtime_nsec()), (1_000_000_000, 500_000_000));
    let open = fs::File::open(machine.upper().join("tmp/dir/file")).unwrap();
    assert_eq!(moat_agent::sys::xattr::get(&open, c"user.note").unwrap().unwrap(), b"x\0y");
    let directory = metadata(&machine, "tmp/dir");
    // Its time is its own, not that of the last file in it.
    assert_eq!((directory.mode() & 0o7777, directory.uid(), directory.mtime()), (0o750, 1234, 1_000_000_000));
    assert_eq!(fs::read_link(machine.upper().join("tmp/dir/link")).unwrap(), Path::new("../../outside"));
    let null = metadata(&machine, "tmp/dir/null");
    assert!(null.file_type().is_char_device() && null.mode() & 0o7777 == 0o666 && null.rdev() == 0x103);
    assert_eq!(metadata(&machine, "tmp/dir/fifo").mode() & 0o7777, 0o640);
    assert_eq!(metadata(&machine, &format!("tmp/dir/{}", "n".repeat(180))).len(), 4);
    let made = metadata(&machine, "tmp/made/on");
    assert_eq!((made.mode() & 0o7777, made.uid()), (0o755, 0));
    // And once more, over itself.
    machine.write("/tmp", (false, true), &everything()).unwrap();
    let file = metadata(&machine, "tmp/dir/file");
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid(), file.nlink()), (0o6755, 0, 0, 2));
    machine.shut_down();
}

fn a_running_container_sees_what_was_unpacked_where_it_sees_it() {
    let mut machine = Machine::boot(|root| fs::create_dir(root.join("vol")).unwrap());
    let mut spec = shell("echo up; sleep 1000");
    spec.mounts.push(tmpfs("/vol", &[]));
    machine.start(spec).unwrap().wait_for("up");
    machine.write("/vol", AS_IT_IS, &Making::new().file("x", 0o644, b"seen").bytes()).unwrap();
    let outcome = machine.run_exec(moat_protocol::ProcessId(50), crate::machine::also("cat /vol/x"));
    assert_eq!(outcome.output(), "seen");
    assert!(!machine.upper().join("vol/x").exists());
    machine.shut_down();
}

fn what_is_there_is_replaced_or_refused() {
    let prepare = |root: &Path| {
        fs::create_dir_all(root.join("d/sub/deep")).unwrap();
        fs::write(root.join("d/sub/deep/file"), "old").unwrap();
        fs::write(root.join("d/file"), "old").unwrap();
        symlink("/bin/busybox", root.join("d/link")).unwrap();
    };
    let mut machine = Machine::boot(prepare);
    for archive in [Making::new().file("sub", 0o644, b"new"), Making::new().directory("file/", 0o755)] {
        let (failure, message) = machine.write("/d", (true, true), &archive.bytes()).unwrap_err();
        assert_eq!(failure, ArchiveFailure::WrongKind);
        assert!(message.contains("would be replaced"), "{message}");
    }
    let archive =
        Making::new().file("sub", 0o644, b"new").directory("file/", 0o755).file("link", 0o644, b"own");
    machine.write("/d", (true, false), &archive.bytes()).unwrap();
    assert_eq!(machine.changes(), ["C/d", "C/d/file", "C/d/link", "C/d/sub"]);
    // The link was replaced and not written through.
    assert_eq!(fs::read(machine.upper().join("d/link")).unwrap(), b"own");
    let (failure, _) = machine.write("/d/sub", AS_IT_IS, &archive_of_one()).unwrap_err();
    assert_eq!(failure, ArchiveFailure::WrongKind);
    let (failure, _) = machine.write("/missing", AS_IT_IS, &archive_of_one()).unwrap_err();
    assert_eq!(failure, ArchiveFailure::NotFound);
    machine.shut_down();
}

fn archive_of_one() -> Vec<u8> {
    Making::new().file("x", 0o644, b"").bytes()
}

fn nothing_leads_out_of_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    let away = outside.path().to_str().unwrap();
    for archive in [
        Making::new().file("../x", 0o644, b"evil"),
        Making::new().file("a/../../x", 0o644, b"evil"),
        Making::new().file("/x", 0o644, b"evil"),
        Making::new().directory("..", 0o777),
        Making::new().symlink("out", away).file("out/x", 0o644, b"evil"),
        Making::new().symlink("out", "..").file("out/x", 0o644, b"evil"),
        Making::new().symlink("out", "/").directory("out/x", 0o777),
        Making::new().symlink("a", "b").symlink("b", "../..").file("a/x", 0o644, b"evil"),
        Making::new().hard_link("x", "../passwd"),
        Making::new().symlink("out", "..").hard_link("x", "out/passwd"),
        Making::new().hard_link("x", "/etc/passwd"),
        Making::new().file("", 0o644, b"evil"),
        Making::new().records(&[("path", b"../x")]).file("fine", 0o644, b"evil"),
        Making::new().records(&[("linkpath", b"/etc/passwd")]).hard_link("x", "fine"),
    ] {
        let bytes = archive.bytes();
        let mut machine = Machine::boot(|root| {
            fs::create_dir(root.join("dst")).unwrap();
            fs::create_dir(root.join("etc/dst")).unwrap();
        });
        let (failure, message) = machine.write("/etc/dst", AS_IT_IS, &bytes).unwrap_err();
        assert_eq!(failure, ArchiveFailure::BadArchive, "{message}");
        let changes = machine.changes();
        assert!(!changes.iter().any(|change| !change.contains("/etc")), "{changes:?}");
        assert!(
            !changes.iter().any(|change| change == "A/etc/x" || change.contains("passwd")),
            "{changes:?}"
        );
        machine.shut_down();
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

/// In the root a link of the image means what it means to the container.
fn links_of_the_image_are_followed_inside() {
    let outside = tempfile::tempdir().unwrap();
    let mut machine = Machine::boot(|root| {
        fs::create_dir(root.join("run")).unwrap();
        fs::create_dir(root.join("var")).unwrap();
        symlink("/run", root.join("var/run")).unwrap();
        symlink(outside.path(), root.join("away")).unwrap();
    });
    machine.write("/", AS_IT_IS, &Making::new().file("var/run/x", 0o644, b"in").bytes()).unwrap();
    assert_eq!(fs::read(machine.upper().join("run/x")).unwrap(), b"in");
    machine.write("/var/run", AS_IT_IS, &Making::new().file("y", 0o644, b"in").bytes()).unwrap();
    assert!(machine.upper().join("run/y").exists());
    assert!(machine.write("/", AS_IT_IS, &Making::new().file("away/x", 0o644, b"").bytes()).is_err());
    assert!(machine.write("/away", AS_IT_IS, &archive_of_one()).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    machine.shut_down();
}

fn bad_archives_are_told_and_cost_nothing() {
    let mut machine = Machine::boot(|_| {});
    let whole = everything();
    let huge = "n".repeat(1 << 20);
    for bytes in [
        &whole[..700],
        &whole[..512 * 5],
        b"",
        b"garbage",
        &[b'x'; 2048],
        &Making::new().records(&[("path", huge.as_bytes())]).file("x", 0o644, b"").bytes(),
        &Making::new().records(&[("path", &huge.as_bytes()[..5000])]).file("x", 0o644, b"").bytes(),
        &Making::new().entry("x", EntryType::GNUSparse, "", 0o644, b"").bytes(),
        &Making::new().hard_link("x", "missing").bytes(),
    ] {
        let (failure, message) = machine.write("/tmp", AS_IT_IS, bytes).unwrap_err();
        assert_eq!(failure, ArchiveFailure::BadArchive, "{message}");
        assert!(message.len() < 500, "{message}");
    }
    machine.shut_down();
}

fn a_full_disk_is_told_with_the_path() {
    let mut machine = Machine::boot(|_| {});
    let mut spec = shell("echo up; sleep 1000");
    spec.mounts.push(tmpfs("/small", &["size=64k"]));
    machine.start(spec).unwrap().wait_for("up");
    let archive = Making::new().directory("d/", 0o755).file("d/big", 0o644, &vec![1; 1 << 20]).bytes();
    let (failure, message) = machine.write("/small", AS_IT_IS, &archive).unwrap_err();
    assert_eq!((failure, message.as_str()), (ArchiveFailure::Io, "d/big: no space left on device"));
    let mut read_only = machine.write("/sys", AS_IT_IS, &archive_of_one()).unwrap_err();
    assert_eq!(read_only.0, ArchiveFailure::Io);
    read_only.1.clear();
    machine.shut_down();
}

/// A stream that never ends is unpacked while it comes, and does not keep the guest from ending.
fn an_endless_archive_keeps_nobody_waiting() {
    let mut machine = Machine::boot(|_| {});
    let task = ArchiveTask::Write { path: "/tmp".to_owned(), keep_owner: true, keep_kind: false };
    let mut stream = machine.begin(REQUEST, task);
    let endless = Making::new().file("a", 0o644, &[1; 3000]).bytes();
    // Without its end, again and again.
    for _ in 0..2000 {
        stream.write_all(&endless[..512 + 3072]).unwrap();
    }
    machine.shut_down();
    drop(stream);
}
