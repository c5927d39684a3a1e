//! What the kernel mounts from our disk is what `umoci unpack` makes of the same image, path by path.
//!
//! Needs root, umoci and a kernel with EROFS.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use moat_test_harness::{Test, tests};
use support::mounted::{Mounted, keep_mounts_private};
use support::run;

const TESTS: &[Test] = tests![busybox, debian, nginx, torture, gnu_sparse_equals_pax_sparse];

fn main() -> ExitCode {
    moat_test_harness::run("mounts disks", &[TESTS])
}

/// What is the same for a path in two trees, or is not.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    /// With the type.
    mode: u32,
    owner: (u32, u32),
    /// Of a directory it says nothing: it depends on the file system.
    size: Option<u64>,
    mtime: (i64, i64),
    links: u64,
    /// The first path of the same file, for files with several names.
    same_as: Option<PathBuf>,
    device: u64,
    target: Option<PathBuf>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
}

/// A difference that is meant to be.
struct Intended {
    field: &'static str,
    why: &'static str,
    applies: fn(&Path, ours: &Facts, theirs: &Facts, start: i64) -> bool,
}

const INTENDED: &[Intended] = &[
    Intended {
        field: "mtime",
        why: "a directory without an entry of its own, one in which such a one was made, or one that lost entries to a \
              whiteout: umoci leaves the time of unpacking, we have the entry's time, or 0",
        applies: |_, ours, theirs, start| {
            is_directory(ours) && theirs.mtime.0 >= start && ours.mtime.0 < start
        },
    },
    Intended {
        field: "mtime",
        why: "the last second that ext4 can hold overflows in umoci; EROFS holds it",
        applies: |path, ours, _, _| path.ends_with("year-2446-edge") && ours.mtime == (15_032_385_535, 0),
    },
    Intended {
        field: "xattrs",
        why: "umoci never sets security.selinux; we keep it, as an LSM in the guest may want it",
        applies: |_, ours, theirs, _| {
            let mut ours = ours.xattrs.clone();
            ours.remove(OsStr::new("security.selinux")).is_some() && ours == theirs.xattrs
        },
    },
];

fn is_directory(facts: &Facts) -> bool {
    facts.mode & 0o170_000 == 0o040_000
}

fn busybox() {
    compare("busybox");
}

fn debian() {
    compare("debian");
}

fn nginx() {
    compare("nginx");
}

fn torture() {
    let used = compare("torture");
    assert_eq!(used, (0..INTENDED.len()).collect(), "an intended difference does not occur any more");
}

/// umoci refuses old GNU sparse files; the same files are in `torture` in PAX form.
fn gnu_sparse_equals_pax_sparse() {
    keep_mounts_private();
    let (gnu, pax) = (Disk::mount("gnu-sparse"), Disk::mount("torture"));
    let mut compared = 0;
    for entry in fs::read_dir(gnu.mounted.root.join("t/sparse")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let twin = pax.mounted.root.join("t/sparse").join(name.replace("gnu-", "pax-1.0-"));
        assert_same_content(&gnu.mounted.root.join("t/sparse").join(&name), &twin);
        compared += 1;
    }
    assert_eq!(compared, 4);
    assert_same_content(&gnu.mounted.root.join("t/big/gnu"), &pax.mounted.root.join("t/big/sparse"));
}

/// Compares one image; returns which intended differences were met.
fn compare(name: &str) -> BTreeSet<usize> {
    keep_mounts_private();
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let disk = Disk::mount(name);
    let bundle = disk.mounted.directory.path().join("bundle");
    let image = format!("{}:latest", disk.layout.display());
    run(Command::new("umoci").args(["--log", "error", "unpack", "--image", &image]).arg(&bundle));
    let reference = bundle.join("rootfs");
    let (ours, theirs) = (facts(&disk.mounted.root), facts(&reference));
    assert!(theirs.len() > 10, "umoci unpacked nothing");
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        match (ours.get(path), theirs.get(path)) {
            (Some(a), Some(b)) => {
                check(path, a, b, start, &mut used, &mut wrong);
                if a.mode & 0o170_000 == 0o100_000 && a.size == b.size {
                    assert_same_content(&disk.mounted.root.join(path), &reference.join(path));
                }
            }
            (Some(_), None) => wrong.push(format!("{}: umoci does not have it", path.display())),
            (None, _) => wrong.push(format!("{}: we do not have it", path.display())),
        }
    }
    for index in &used {
        eprintln!("{name}: {} differs as intended: {}", INTENDED[*index].field, INTENDED[*index].why);
    }
    eprintln!("{name}: {} paths compared", ours.len());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong[..wrong.len().min(50)].join("\n"));
    used
}

fn check(
    path: &Path,
    ours: &Facts,
    theirs: &Facts,
    start: i64,
    used: &mut BTreeSet<usize>,
    wrong: &mut Vec<String>,
) {
    let fields = [
        ("mode", ours.mode == theirs.mode, format!("{:o} {:o}", ours.mode, theirs.mode)),
        ("owner", ours.owner == theirs.owner, format!("{:?} {:?}", ours.owner, theirs.owner)),
        ("size", ours.size == theirs.size, format!("{:?} {:?}", ours.size, theirs.size)),
        ("mtime", ours.mtime == theirs.mtime, format!("{:?} {:?}", ours.mtime, theirs.mtime)),
        ("links", ours.links == theirs.links, format!("{} {}", ours.links, theirs.links)),
        ("same file", ours.same_as == theirs.same_as, format!("{:?} {:?}", ours.same_as, theirs.same_as)),
        ("device", ours.device == theirs.device, format!("{:x} {:x}", ours.device, theirs.device)),
        ("target", ours.target == theirs.target, format!("{:?} {:?}", ours.target, theirs.target)),
        ("xattrs", ours.xattrs == theirs.xattrs, format!("{:?} {:?}", ours.xattrs, theirs.xattrs)),
    ];
    for (field, _, shown) in fields.into_iter().filter(|(_, same, _)| !same) {
        let intended = INTENDED
            .iter()
            .position(|intended| intended.field == field && (intended.applies)(path, ours, theirs, start));
        match intended {
            Some(index) => drop(used.insert(index)),
            None => wrong.push(format!("{}: {field} (ours, umoci's): {shown}", path.display())),
        }
    }
}

/// All paths below `root`, itself included, relative to it.
fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = BTreeMap::new();
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let metadata = full.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        if kind.is_dir() {
            let names = fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name());
            todo.extend(names.map(|name| path.join(name)));
        } else if metadata.nlink() > 1 {
            let known = first.entry(metadata.ino()).or_insert_with(|| path.clone());
            if path < *known {
                known.clone_from(&path);
            }
        }
        let is_device = kind.is_char_device() || kind.is_block_device();
        let value = |name: OsString| {
            let value = xattr::get(&full, &name).unwrap().unwrap_or_default();
            (name, value)
        };
        let facts = Facts {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: (!kind.is_dir()).then(|| metadata.size()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            links: metadata.nlink(),
            same_as: Some(PathBuf::from(metadata.ino().to_string())),
            device: if is_device { metadata.rdev() } else { 0 },
            target: kind.is_symlink().then(|| fs::read_link(&full).unwrap()),
            xattrs: xattr::list(&full).unwrap().map(value).collect(),
        };
        all.insert(path, facts);
    }
    // Inode numbers differ between file systems; the first path of each does not.
    for facts in all.values_mut() {
        let inode = facts.same_as.take().and_then(|number| number.to_str()?.parse::<u64>().ok());
        facts.same_as = inode.filter(|_| !is_directory(facts)).and_then(|inode| first.get(&inode).cloned());
    }
    all
}

fn assert_same_content(ours: &Path, theirs: &Path) {
    let (mut a, mut b) = (File::open(ours).unwrap(), File::open(theirs).unwrap());
    let length = a.metadata().unwrap().len();
    assert_eq!(length, b.metadata().unwrap().len(), "{}", ours.display());
    let mut buffers = [vec![0; 256 << 10], vec![0; 256 << 10]];
    let mut position = 0;
    while position < length {
        let part = usize::try_from(length - position).unwrap().min(buffers[0].len());
        let [x, y] = &mut buffers;
        a.read_exact(&mut x[..part]).unwrap();
        b.read_exact(&mut y[..part]).unwrap();
        assert!(x[..part] == y[..part], "{}: content differs after byte {position}", ours.display());
        position += part as u64;
    }
}

/// The disk of a test image, mounted.
struct Disk {
    mounted: Mounted,
    layout: PathBuf,
}

impl Disk {
    fn mount(name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/images/build");
        let printed = run(Command::new(script).args([name, "--format", "oci-dir"]));
        let layout = PathBuf::from(OsString::from_vec(printed).to_str().unwrap().trim());
        Self { mounted: Mounted::new(&mut layers(&layout)), layout }
    }
}

/// The layers of an OCI layout with one image, uncompressed.
fn layers(layout: &Path) -> Vec<File> {
    let blob =
        |digest: &serde_json::Value| layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let json =
        |path: &Path| -> serde_json::Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let manifest = json(&blob(&json(&layout.join("index.json"))["manifests"][0]["digest"]));
    let open = |layer: &serde_json::Value| {
        let file = File::open(blob(&layer["digest"])).unwrap();
        if !layer["mediaType"].as_str().unwrap().ends_with("gzip") {
            return file;
        }
        let mut plain = tempfile::tempfile().unwrap();
        io::copy(&mut flate2::read::MultiGzDecoder::new(io::BufReader::new(file)), &mut plain).unwrap();
        plain
    };
    manifest["layers"].as_array().unwrap().iter().map(open).collect()
}
