use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use moat_protocol::tar::Writer;
use proptest::prelude::*;

use super::*;

/// Everything below a directory: what cannot change unnoticed.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, (u32, u64, u64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_dir() => {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                Vec::new()
            }
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            kind if kind.is_file() => fs::read(&path).unwrap(),
            _ => Vec::new(),
        };
        let facts = (metadata.mode(), metadata.ino(), metadata.nlink(), metadata.mtime_nsec(), content);
        all.insert(path, facts);
    }
    all
}

/// A directory with something outside of the destination, and ways there.
struct Yard {
    directory: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("outside/deep")).unwrap();
        fs::write(path.join("outside/secret"), "secret").unwrap();
        fs::create_dir(path.join("destination")).unwrap();
        Self { directory }
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    fn destination(&self) -> PathBuf {
        self.directory.path().join("destination")
    }

    fn extract(&self, tar: &[u8]) -> Result<(), ArchiveError> {
        extract(tar, &self.destination(), &Rename::below(None), false)
    }
}

fn tar(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, contents) in entries {
        let entry = Entry { size: contents.len() as u64, ..entry.clone() };
        writer.append(&entry, &mut &**contents).unwrap();
    }
    writer.finish().unwrap()
}

fn entry(kind: Kind, path: &str, link: &str) -> Entry {
    Entry {
        kind,
        path: path.into(),
        link: link.into(),
        mode: 0o755,
        mtime: (1_000_000, 0),
        ..Entry::default()
    }
}

fn file(path: &str) -> Entry {
    entry(Kind::File, path, "")
}

#[test]
fn files_come_out_as_they_went_in() {
    let yard = Yard::new();
    let mut long = "n".repeat(255);
    let long_entry = file(&format!("d/{long}"));
    let sparse = [vec![0; 5 << 20], b"end".to_vec(), vec![0; 9000]].concat();
    yard.extract(&tar(&[
        (Entry { mode: 0o2550, mtime: (7, 9), ..entry(Kind::Directory, "d/", "") }, b""),
        (Entry { mode: 0o4751, mtime: (-5, 500), ..file("d/f") }, b"content"),
        (long_entry, b""),
        (Entry { path: b"d/\xff\n".to_vec(), ..file("") }, b"bytes"),
        (entry(Kind::Symlink, "d/link", "/nowhere/at all"), b""),
        (entry(Kind::HardLink, "other", "d/f"), b""),
        (entry(Kind::HardLink, "other-link", "d/link"), b""),
        (entry(Kind::Fifo, "fifo", ""), b""),
        (file("sparse"), &sparse),
        (file("implied/way/to/it"), b"x"),
    ]))
    .unwrap();
    let at = |name: &str| yard.destination().join(name);
    let metadata = |name: &str| fs::symlink_metadata(at(name)).unwrap();
    assert_eq!(
        (metadata("d").mode() & 0o7777, metadata("d").mtime(), metadata("d").mtime_nsec()),
        (0o550, 7, 9)
    );
    // The owner is the user that extracts, not the one that the archive names.
    assert_eq!((metadata("d/f").mode() & 0o7777, metadata("d/f").mtime()), (0o751, -5));
    assert_eq!(metadata("d/f").uid(), nix::unistd::geteuid().as_raw());
    assert_eq!((metadata("other").ino(), metadata("d/f").nlink()), (metadata("d/f").ino(), 2));
    assert_eq!(fs::read(at("other")).unwrap(), b"content");
    assert_eq!(fs::read_link(at("d/link")).unwrap(), Path::new("/nowhere/at all"));
    assert_eq!(metadata("other-link").ino(), metadata("d/link").ino());
    assert_eq!(metadata("d/link").mtime(), 1_000_000);
    assert!(fs::read(at("sparse")).unwrap() == sparse);
    assert!(metadata("sparse").blocks() * 512 < 1 << 20, "{} blocks", metadata("sparse").blocks());
    assert_eq!(fs::read(yard.destination().join(OsStr::from_bytes(b"d/\xff\n"))).unwrap(), b"bytes");
    assert!(at("implied/way/to/it").is_file());
    long.insert_str(0, "d/");
    assert!(at(&long).is_file());
    // A user that is not root must be able to remove the directory.
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_leads_out_is_refused() {
    for bad in [
        vec![file("../outside/new")],
        vec![file("/etc/new")],
        vec![file("a/../../outside/new")],
        vec![entry(Kind::Symlink, "s", "../outside"), file("s/new")],
        vec![entry(Kind::Symlink, "s", "../outside"), entry(Kind::Directory, "s", "")],
        vec![entry(Kind::Symlink, "s", "../outside"), entry(Kind::Directory, "s/deep", "")],
        vec![entry(Kind::Symlink, "s", "../outside"), entry(Kind::HardLink, "h", "s/secret")],
        vec![entry(Kind::HardLink, "h", "../outside/secret")],
        vec![entry(Kind::HardLink, "h", "/etc/passwd")],
        vec![entry(Kind::HardLink, "h", "h")],
        vec![entry(Kind::HardLink, "h", "nothing")],
        vec![entry(Kind::Directory, "d", ""), entry(Kind::HardLink, "h", "d")],
        vec![entry(Kind::CharDevice, "null", "")],
        vec![entry(Kind::BlockDevice, "disk", "")],
        vec![entry(Kind::File, ".", "")],
        vec![entry(Kind::Symlink, "", "x")],
        vec![entry(Kind::Directory, "d", ""), file("d")],
        vec![file("d"), entry(Kind::Directory, "d", "")],
        vec![file("d"), file("d/below")],
        vec![entry(Kind::Symlink, "here", "../destination"), file("here/x")],
    ] {
        let yard = Yard::new();
        let before = snapshot(&yard.outside());
        let entries: Vec<_> = bad.iter().map(|entry| (entry.clone(), &b""[..])).collect();
        let error = yard.extract(&tar(&entries)).unwrap_err().to_string();
        assert_eq!(snapshot(&yard.outside()), before, "{bad:?}");
        assert!(!error.is_empty() && error.len() < 500, "{error}");
    }
}

#[test]
fn links_are_replaced_and_not_written_through() {
    let yard = Yard::new();
    let before = snapshot(&yard.outside());
    symlink("../outside/secret", yard.destination().join("link")).unwrap();
    yard.extract(&tar(&[
        (file("link"), b"new"),
        (entry(Kind::Symlink, "later", "../outside/secret"), b""),
        (entry(Kind::HardLink, "hard", "later"), b""),
        (file("hard"), b"new"),
        (file("later"), b"new"),
    ]))
    .unwrap();
    assert_eq!(snapshot(&yard.outside()), before);
    for name in ["link", "later", "hard"] {
        let path = yard.destination().join(name);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read(path).unwrap(), b"new");
    }
}

#[test]
fn lies_and_broken_ends_leave_no_half_files() {
    let yard = Yard::new();
    let whole = tar(&[(Entry { size: 5000, ..file("f") }, &[7; 5000])]);
    for length in (0..5500).step_by(250) {
        let error = yard.extract(&whole[..length]).unwrap_err();
        assert!(matches!(error, ArchiveError::Tar(TarError::Incomplete)), "{length}: {error}");
        assert_eq!(fs::read_dir(yard.destination()).unwrap().count(), 0, "{length}");
    }
    yard.extract(&whole).unwrap();
}

/// Many directories, one after the other and one many times: only those that are open are remembered.
#[test]
fn what_is_remembered_is_bounded() {
    let yard = Yard::new();
    let directory = Directory::open(&yard.destination()).unwrap();
    let mut extraction = Extraction {
        directory,
        owners: false,
        path: Vec::new(),
        unfinished: Vec::new(),
        buffer: vec![0; CHUNK],
    };
    for number in 0..3000 {
        let path = if number % 2 == 0 { "same/".to_owned() } else { format!("d{number}/") };
        let entry = entry(Kind::Directory, &path, "");
        extraction.entry(&entry, &Rename::below(None), &mut io::empty()).unwrap();
        assert!(extraction.unfinished.len() <= 1);
    }
}

fn hostile_name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[abc]",
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(String::new()),
        1 => Just("outside".to_owned()),
        1 => Just("secret".to_owned()),
        1 => Just("way-out".to_owned()),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn hostile_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        Just(Kind::Symlink),
        Just(Kind::HardLink),
        Just(Kind::Fifo),
        Just(Kind::CharDevice),
    ];
    let link = prop_oneof![
        hostile_name(),
        Just("../outside".to_owned()),
        Just("../../outside/secret".to_owned()),
        Just("/proc/self/cwd".to_owned()),
        Just(".".to_owned()),
    ];
    (kind, hostile_name(), link, 0_u32..0o10000)
        .prop_map(|(kind, path, link, mode)| Entry { mode: mode | 0o700, ..entry(kind, &path, &link) })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// No archive changes anything beside the destination, also if links lead there already.
    #[test]
    fn nothing_outside_changes(entries in prop::collection::vec(hostile_entry(), 1..12)) {
        let yard = Yard::new();
        symlink("../outside", yard.destination().join("way-out")).unwrap();
        symlink(yard.outside().join("secret"), yard.destination().join("a")).unwrap();
        let before = snapshot(&yard.outside());
        // One refused entry ends an archive, so each is one of its own.
        for entry in &entries {
            let _ = yard.extract(&tar(&[(entry.clone(), b"hostile")]));
        }
        let all: Vec<_> = entries.iter().map(|entry| (entry.clone(), &b"hostile"[..])).collect();
        let _ = yard.extract(&tar(&all));
        prop_assert_eq!(snapshot(&yard.outside()), before);
        let around = fs::read_dir(yard.directory.path()).unwrap().count();
        prop_assert_eq!(around, 2);
    }

    /// Bytes that are no archive at all.
    #[test]
    fn noise_is_survived(noise in prop::collection::vec(any::<u8>(), 0..4096), at in 0_usize..1536, byte in any::<u8>()) {
        let yard = Yard::new();
        let before = snapshot(&yard.outside());
        let _ = yard.extract(&noise);
        let mut damaged = tar(&[(entry(Kind::Directory, "a/", ""), b""), (file("a/b"), b"x")]);
        damaged[at] = byte;
        let _ = yard.extract(&damaged);
        prop_assert_eq!(snapshot(&yard.outside()), before);
    }
}

/// Each directory gets its own mode when it is left, at any depth and in any order.
#[test]
fn directories_are_finished_as_they_are_left() {
    let yard = Yard::new();
    let deep = |depth: usize| "d/".repeat(depth);
    let mut all: Vec<_> = (1..=300)
        .map(|depth| {
            let mode = 0o700 + (depth % 8) as u32;
            (Entry { mode, mtime: (depth as i64, 0), ..entry(Kind::Directory, &deep(depth), "") }, &b""[..])
        })
        .collect();
    all.push((file(&format!("{}e/f", deep(100))), b""));
    all.push((Entry { mode: 0o4700, mtime: (5, 0), ..entry(Kind::Directory, "e/", "") }, b""));
    all.push((file("e/f"), b""));
    yard.extract(&tar(&all)).unwrap();
    for depth in 1..=300 {
        let metadata = fs::metadata(yard.destination().join(deep(depth))).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o700 + (depth % 8) as u32, "{depth}");
        // The file came after this one had been left.
        if depth != 100 {
            assert_eq!(metadata.mtime(), depth as i64, "{depth}");
        }
    }
    let metadata = fs::metadata(yard.destination().join("e")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o700, 5));
}

/// A program with the rights of its owner would be there for every user of the host.
#[test]
fn special_bits_are_dropped_with_owners_kept() {
    let yard = Yard::new();
    let archive = tar(&[(Entry { mode: 0o6755, ..file("set") }, b"")]);
    extract(&archive[..], &yard.destination(), &Rename::below(None), true).unwrap();
    assert_eq!(fs::metadata(yard.destination().join("set")).unwrap().mode() & 0o7777, 0o755);
}
