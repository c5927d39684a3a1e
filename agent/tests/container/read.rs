//! Paths of a container as archives.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use moat_protocol::{ArchiveFailure, ArchiveTask, RequestId};
use moat_test_harness::{Test, tests};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::time::TimeSpec;
use tar::EntryType;

use crate::machine::{Machine, REQUEST, shell};
use crate::tar::{list, names};

pub const TESTS: &[Test] = tests![
    a_directory_is_read_before_during_and_after_a_container,
    links_are_followed_when_they_are_to_be,
    what_is_mounted_is_read_but_not_as_part_of_the_whole,
    paths_are_looked_at,
    no_path_leads_out,
    requests_are_bounded_and_end_with_the_host,
    a_tree_that_is_too_deep_is_refused_and_hurts_nobody,
];

fn read(path: &str, follow: bool) -> ArchiveTask {
    ArchiveTask::Read { path: path.to_owned(), follow }
}

fn prepare(root: &Path) {
    fs::create_dir_all(root.join("data/sub")).unwrap();
    fs::write(root.join("data/file"), "contents").unwrap();
    fs::set_permissions(root.join("data/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(root.join("data/file"), Some(3_000_000), Some(7)).unwrap();
    fs::set_permissions(root.join("data/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("data/file"), root.join("data/sub/again")).unwrap();
    symlink("../file", root.join("data/sub/link")).unwrap();
    symlink("/data", root.join("shortcut")).unwrap();
    nix::unistd::mkfifo(&root.join("data/fifo"), Mode::S_IRUSR).unwrap();
    mknod(&root.join("data/null"), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("data/socket")).unwrap());
    fs::write(root.join("data").join("n".repeat(200)), "long").unwrap();
    // The tests' busybox has no setfattr.
    let file = fs::File::open(root.join("data/file")).unwrap();
    moat_agent::sys::xattr::set(&file, c"user.note", b"a\0b").unwrap();
    let moment = TimeSpec::new(1_234_567_890, 123_456_789);
    nix::sys::stat::futimens(&file, &moment, &moment).unwrap();
}

fn check_data(bytes: &[u8]) {
    let found = list(bytes);
    let long = format!("data/{}", "n".repeat(200));
    let expected = [
        "data/",
        "data/fifo",
        "data/file",
        &long,
        "data/null",
        "data/sub/",
        "data/sub/again",
        "data/sub/link",
    ];
    assert_eq!(names(bytes), expected);
    let file = &found["data/file"];
    assert_eq!((file.mode, file.contents.as_slice(), file.mtime), (0o4755, &b"contents"[..], 1_234_567_890));
    assert_eq!(file.records["SCHILY.xattr.user.note"], b"a\0b");
    assert_eq!(file.records["mtime"], b"1234567890.123456789");
    assert_eq!(file.records["uid"], b"3000000");
    assert_eq!(found["data/sub/again"].kind, EntryType::Link);
    assert_eq!(found["data/sub/again"].link, "data/file");
    assert_eq!(
        (found["data/sub/link"].kind, found["data/sub/link"].link.as_str()),
        (EntryType::Symlink, "../file")
    );
    assert_eq!((found["data/null"].kind, found["data/fifo"].kind), (EntryType::Char, EntryType::Fifo));
    assert_eq!(found[&long].contents, b"long");
}

fn a_directory_is_read_before_during_and_after_a_container() {
    let mut machine = Machine::boot(prepare);
    check_data(&machine.read("/data"));
    let mut streams = machine.start(shell("echo up; read line")).unwrap();
    streams.wait_for("up");
    // `read` ends at once: there is no stdin. Whichever comes first, the archive is the same.
    check_data(&machine_read_beside_an_end(&mut machine));
    check_data(&machine.read("/data"));
    machine.shut_down();
}

/// Reads while the container may end, and takes both answers.
fn machine_read_beside_an_end(machine: &mut Machine) -> Vec<u8> {
    let mut stream = machine.begin(REQUEST, read("/data", false));
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let answers = [format!("{:?}", machine.receive()), format!("{:?}", machine.receive())];
    assert!(answers.iter().any(|answer| answer.starts_with("ArchiveDone")), "{answers:?}");
    bytes
}

fn links_are_followed_when_they_are_to_be() {
    let mut machine = Machine::boot(prepare);
    let (bytes, stat) = machine.archive(read("/shortcut", false)).unwrap();
    assert_eq!(names(&bytes), ["shortcut"]);
    assert_eq!(
        (stat.unwrap().link_target, list(&bytes)["shortcut"].link.as_str()),
        ("/data".to_owned(), "/data")
    );
    let (bytes, stat) = machine.archive(read("/shortcut", true)).unwrap();
    assert_eq!(names(&bytes)[..2], ["shortcut/", "shortcut/fifo"]);
    assert!(stat.unwrap().link_target.is_empty());
    assert_eq!(names(&machine.read("/shortcut/sub/again")), ["again"]);
    assert_eq!(list(&machine.read("/data/null"))["null"].kind, EntryType::Char);
    assert_eq!(list(&machine.read("/data/../data/file"))["file"].contents, b"contents");
    machine.shut_down();
}

fn what_is_mounted_is_read_but_not_as_part_of_the_whole() {
    let mut machine = Machine::boot(|root| fs::write(root.join("etc/hosts"), "image").unwrap());
    let command = "echo shared >/dev/shm/x; echo new >/new; echo up; sleep 1000";
    machine.start(shell(command)).unwrap().wait_for("up");
    assert_eq!(list(&machine.read("/dev/shm"))["shm/x"].contents, b"shared\n");
    assert_eq!(list(&machine.read("/etc/hosts"))["hosts"].contents, b"127.0.0.1\tlocalhost\n");
    for root in ["/", "//", "/."] {
        let whole = list(&machine.read(root));
        assert_eq!(whole["new"].contents, b"new\n");
        assert_eq!(
            (whole["etc/hosts"].contents.as_slice(), whole["etc/hostname"].contents.len()),
            (&b"image"[..], 0)
        );
        assert!(
            whole.contains_key("dev/") && whole.contains_key("proc/") && whole.contains_key("bin/busybox")
        );
        assert!(
            !whole
                .keys()
                .any(|name| name.starts_with("dev/") && name != "dev/" || name.starts_with("proc/1"))
        );
        assert!(!whole.contains_key("/") && !whole.contains_key("./"));
    }
    machine.shut_down();
}

fn stat(machine: &mut Machine, path: &str, follow: bool) -> Result<moat_protocol::PathStat, ArchiveFailure> {
    let token = moat_protocol::StreamToken("none".to_owned());
    let task = ArchiveTask::Stat { path: path.to_owned(), follow };
    machine.send(&moat_protocol::HostMessage::Archive { request: REQUEST, token, task });
    machine.answer(REQUEST).map(Option::unwrap).map_err(|(failure, message)| {
        assert!(message.starts_with(path), "{message}");
        failure
    })
}

fn paths_are_looked_at() {
    let mut machine = Machine::boot(prepare);
    let file = stat(&mut machine, "/data/file", false).unwrap();
    let there = fs::metadata(machine.image().join("data/file")).unwrap();
    assert_eq!((file.name.as_str(), file.mode, file.size, file.mtime), ("file", 0o104755, 8, there.mtime()));
    let link = stat(&mut machine, "/shortcut", false).unwrap();
    assert_eq!((link.mode & 0o170000, link.link_target.as_str()), (0o120000, "/data"));
    let directory = stat(&mut machine, "/shortcut", true).unwrap();
    assert_eq!((directory.name.as_str(), directory.mode & 0o170000), ("shortcut", 0o040000));
    assert_eq!(stat(&mut machine, "/", false).unwrap().name, "/");
    assert_eq!(stat(&mut machine, "/../../data/../bin/", false).unwrap().name, "bin");
    for (path, failure) in [
        ("/missing", ArchiveFailure::NotFound),
        ("/data/file/x", ArchiveFailure::WrongKind),
        ("/data/file/", ArchiveFailure::WrongKind),
        ("relative", ArchiveFailure::Io),
        ("/a\0b", ArchiveFailure::Io),
    ] {
        assert_eq!(stat(&mut machine, path, true).unwrap_err(), failure, "{path}");
    }
    machine.shut_down();
}

fn no_path_leads_out() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let mut machine = Machine::boot(|root| {
        fs::remove_dir_all(root.join("etc")).unwrap();
        symlink(outside.path(), root.join("etc")).unwrap();
        symlink("../../../../../../../../..", root.join("up")).unwrap();
    });
    for running in [false, true] {
        assert!(matches!(machine.archive(read("/etc/secret", true)), Err((ArchiveFailure::NotFound, _))));
        assert!(stat(&mut machine, &format!("/up/{}/secret", outside.path().display()), true).is_err());
        assert!(stat(&mut machine, "/up/bin/busybox", true).is_ok());
        let whole = names(&machine.read("/"));
        assert!(!whole.iter().any(|name| name.contains("secret")));
        if !running {
            let spec = shell("echo up; sleep 1000");
            // The agent makes /etc/hosts where the link leads inside.
            machine.start(spec).unwrap().wait_for("up");
        }
    }
    // Links of /proc that stand for files of other processes.
    for path in ["/proc/1/root/bin", "/proc/1/cwd", "/proc/1/fd/0"] {
        assert!(stat(&mut machine, path, true).is_err(), "{path}");
    }
    machine.shut_down();
}

fn requests_are_bounded_and_end_with_the_host() {
    let mut machine = Machine::boot(|root| {
        fs::write(root.join("big"), vec![1; 4 << 20]).unwrap();
    });
    // They are not read.
    let streams: Vec<_> = (0..8).map(|n| machine.begin(RequestId(n), read("/big", false))).collect();
    let token = moat_protocol::StreamToken("late".to_owned());
    let task = read("/big", false);
    machine.send(&moat_protocol::HostMessage::Archive { request: REQUEST, token, task });
    let (failure, message) = machine.answer(REQUEST).unwrap_err();
    assert_eq!((failure, message.as_str()), (ArchiveFailure::Io, "too many requests at once"));
    // A transfer that is no longer wanted ends with an answer.
    drop(streams);
    for _ in 0..8 {
        let answer = format!("{:?}", machine.receive());
        let why = ["big: broken pipe", "big: connection reset by peer"];
        assert!(
            answer.starts_with("ArchiveFailed") && why.iter().any(|why| answer.contains(why)),
            "{answer}"
        );
    }
    assert_eq!(names(&machine.read("/big")), ["big"]);
    let _unread = machine.begin(REQUEST, read("/big", false));
    machine.shut_down();
}

fn a_tree_that_is_too_deep_is_refused_and_hurts_nobody() {
    let mut machine = Machine::boot(|_| {});
    let command = "cd /tmp; n=0; while [ $n -lt 600 ]; do mkdir d && cd d; n=$((n+1)); done; echo made";
    machine.start(shell(command)).unwrap().wait_for("made");
    machine.exit();
    let (failure, message) = machine.archive(read("/tmp", false)).unwrap_err();
    assert_eq!(failure, ArchiveFailure::Io);
    assert!(message.contains("nested too deep") && message.len() < 400, "{message}");
    assert!(machine.archive(ArchiveTask::Changes).unwrap_err().1.contains("nested too deep"));
    machine.shut_down();
}
