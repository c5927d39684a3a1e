//! Proves a disk in three ways: the index read back says what the tree says, the kernel shows what the index says, and
//! `fsck.erofs` finds nothing wrong.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use moat_rootfs::{Extent, FileType, Index, IndexReader, Node, Source, Tree};

use super::mounted::{Mounted, can_mount};

/// Proves the disk of some layers; says how many paths it has.
pub fn prove(layers: &[Vec<u8>]) -> usize {
    prove_with(&mut layers.iter().map(io::Cursor::new).collect::<Vec<_>>(), true)
}

/// The same for layers that are too long for memory, and for `fsck.erofs`, which reads every byte of a hole.
pub fn prove_files<R: Read + Seek>(layers: &mut [R]) -> usize {
    prove_with(layers, false)
}

fn prove_with<R: Read + Seek>(layers: &mut [R], with_fsck: bool) -> usize {
    let tree = Tree::from_layers(layers).unwrap();
    let index = tree.index().unwrap();
    let paths = reads_back(&tree, &index);
    if can_mount() {
        let disk = Mounted::new(layers);
        assert_eq!(shows(&disk, &IndexReader::open(index.bytes()).unwrap()), paths);
        if with_fsck {
            check_with_fsck(&disk.image);
        }
    }
    paths
}

/// What the index says of every path is what the tree says, and the index is sound.
pub fn reads_back(tree: &Tree, index: &Index) -> usize {
    let reader = IndexReader::open(index.bytes()).unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.inodes(), index.inodes());
    assert_eq!(reader.disk_len(), index.segments().last().map_or(0, |last| last.offset + last.padded));
    let mut text = String::new();
    tree.dump(&mut text).unwrap();
    // Where a sparse file's data is takes more than a line.
    let without_places = |line: &str| -> String {
        let word = |word: &str| if word.contains("@sparse/") { "sparse".to_owned() } else { word.to_owned() };
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    let expected: BTreeSet<String> = text.lines().map(without_places).collect();
    let path_of = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let sparse: BTreeSet<String> =
        expected.iter().filter(|line| line.contains(" sparse")).map(|line| path_of(line)).collect();
    let mut todo = vec![(String::from("/"), reader.root().unwrap())];
    let mut paths = 0;
    while let Some((path, node)) = todo.pop() {
        let line = line(&path, &node, index, sparse.contains(&path));
        assert!(expected.contains(&line), "the index has {line}");
        paths += 1;
        if node.file_type() == FileType::Directory {
            let start = path.trim_end_matches('/');
            for (name, child) in children(&reader, &node) {
                todo.push((format!("{start}/{}", escaped(&name)), child));
            }
        }
    }
    assert_eq!(paths, expected.len());
    paths
}

/// A node as a line of the tree's dump.
fn line(path: &str, node: &Node<'_>, index: &Index, is_sparse: bool) -> String {
    let kind = match node.file_type() {
        FileType::Regular => '-',
        FileType::Directory => 'd',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Symlink => 'l',
    };
    let size = if kind == 'd' { 0 } else { node.size() };
    let ((uid, gid), (seconds, nanoseconds)) = (node.owner(), node.mtime());
    let mode = node.permissions();
    let mut line =
        format!("{path} {kind}{mode:04o} {uid}:{gid} {size} {seconds}.{nanoseconds:09} {} ", node.links());
    line += &match kind {
        'l' => escaped(node.target().unwrap()),
        'c' | 'b' => node.device().map(|(major, minor)| format!("{major}:{minor}")).unwrap(),
        '-' if is_sparse => "sparse".to_owned(),
        '-' if size > 0 => place(node, index),
        _ => "-".to_owned(),
    };
    for xattr in node.xattrs() {
        let (name, value) = xattr.unwrap();
        write!(line, " {}={}", escaped(&name), escaped(value)).unwrap();
    }
    line
}

/// The layer that a file's data is in, and where.
fn place(node: &Node<'_>, index: &Index) -> String {
    let parts: Vec<_> = node.extents().map(Result::unwrap).collect();
    assert_eq!((parts.len(), parts[0].offset, parts[0].length), (1, 0, node.size()));
    let place = parts[0].place.unwrap();
    let segments = index.segments();
    let segment =
        segments.iter().find(|part| place >= part.offset && place < part.offset + part.length).unwrap();
    let Source::Layer(layer) = segment.source else { panic!("data in the index") };
    assert!(place + node.size() <= segment.offset + segment.length, "data past the end of its layer");
    format!("{}@{}", layer + 1, place - segment.offset)
}

fn escaped(bytes: &[u8]) -> String {
    let byte = |byte: &u8| match byte {
        b'=' | b'\\' => format!("\\x{byte:02x}"),
        b'!'..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(byte).collect()
}

/// What a directory leads to, each found by its name.
fn children<'a>(reader: &IndexReader<'a>, node: &Node<'a>) -> Vec<(Vec<u8>, Node<'a>)> {
    let listed: Vec<_> = node.entries().map(Result::unwrap).collect();
    let names: BTreeSet<&[u8]> = listed.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), listed.len(), "a name twice");
    for other in listed.iter().take(1).chain(listed.last()).flat_map(|entry| neighbours(entry.name)) {
        assert_eq!(node.lookup(&other).unwrap().is_some(), names.contains(other.as_slice()));
    }
    let named = listed.into_iter().filter(|entry| !matches!(entry.name, b"." | b".."));
    named
        .map(|entry| {
            assert_eq!(node.lookup(entry.name).unwrap(), Some(entry));
            (entry.name.to_vec(), reader.node(entry.inode).unwrap())
        })
        .collect()
}

/// Names beside a name, most of which do not exist.
fn neighbours(name: &[u8]) -> Vec<Vec<u8>> {
    let longer = [name, b"\x01"].concat();
    let mut higher = name.to_vec();
    higher.last_mut().into_iter().for_each(|last| *last = last.saturating_add(1));
    let shorter = name[..name.len() - 1].to_vec();
    let possible = |name: &Vec<u8>| (1..256).contains(&name.len()) && !name.contains(&b'/');
    [longer, higher, shorter].into_iter().filter(possible).collect()
}

/// The kernel shows what the index says: every path is opened by its name. Returns how many there are.
pub fn shows(disk: &Mounted, reader: &IndexReader<'_>) -> usize {
    let image = File::open(&disk.image).unwrap();
    let mut paths = 0;
    let mut todo = vec![(disk.root.clone(), reader.root().unwrap())];
    while let Some((path, node)) = todo.pop() {
        paths += 1;
        shows_node(&path, &node, &image);
        if node.file_type() != FileType::Directory {
            continue;
        }
        let children = children(reader, &node);
        let listed: BTreeSet<Vec<u8>> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_vec()).collect();
        assert!(listed.iter().eq(children.iter().map(|(name, _)| name)), "{}: the names", path.display());
        for (name, _) in children.iter().take(1).chain(children.last()) {
            for other in neighbours(name).iter().filter(|other| !matches!(&other[..], b"." | b"..")) {
                let found = path.join(OsStr::from_bytes(other)).symlink_metadata();
                let missing = found.is_err_and(|error| error.kind() == ErrorKind::NotFound);
                assert_eq!(missing, !listed.contains(other), "{}: {}", path.display(), escaped(other));
            }
        }
        let child = |(name, node)| (path.join(OsStr::from_bytes(&Vec::<u8>::clone(&name))), node);
        todo.extend(children.into_iter().map(child));
    }
    paths
}

fn shows_node(path: &Path, node: &Node<'_>, image: &File) {
    let shown = path.display();
    let found = path.symlink_metadata().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(found.ino(), node.number(), "{shown}: inode");
    assert_eq!(found.mode() & 0o7777, u32::from(node.permissions()), "{shown}: mode");
    assert_eq!((found.uid(), found.gid()), node.owner(), "{shown}: owner");
    let (seconds, nanoseconds) = node.mtime();
    assert_eq!((found.mtime(), found.mtime_nsec()), (seconds, nanoseconds.into()), "{shown}: mtime");
    assert_eq!(found.nlink(), u64::from(node.links()), "{shown}: links");
    assert_eq!(found.size(), node.size(), "{shown}: size");
    let kind = [
        (FileType::Regular, 0o100_000),
        (FileType::Directory, 0o040_000),
        (FileType::CharDevice, 0o020_000),
        (FileType::BlockDevice, 0o060_000),
        (FileType::Fifo, 0o010_000),
        (FileType::Symlink, 0o120_000),
    ];
    assert!(kind.contains(&(node.file_type(), found.mode() & 0o170_000)), "{shown}: type");
    if let Some(device) = node.device() {
        let number = found.rdev();
        assert_eq!((nix::sys::stat::major(number), nix::sys::stat::minor(number)), {
            (u64::from(device.0), u64::from(device.1))
        });
    }
    let mut names = BTreeSet::new();
    for xattr in node.xattrs() {
        let (name, value) = xattr.unwrap();
        let found = xattr::get(path, OsStr::from_bytes(&name)).unwrap();
        assert!(found.as_deref() == Some(value), "{shown}: {}", escaped(&name));
        names.insert(name);
    }
    let listed: BTreeSet<Vec<u8>> = xattr::list(path).unwrap().map(OsStringExt::into_vec).collect();
    assert_eq!(listed, names, "{shown}: the attributes");
    match node.file_type() {
        FileType::Symlink => {
            assert_eq!(
                fs::read_link(path).unwrap().into_os_string().as_bytes(),
                node.target().unwrap(),
                "{shown}"
            );
        }
        FileType::Regular => has_content(path, node, image),
        _ => {}
    }
}

/// Of long parts both ends are read, and holes that follow each other count as one: there may be terabytes of them.
fn has_content(path: &Path, node: &Node<'_>, image: &File) {
    const MOST: u64 = 64 << 10;
    let file = File::open(path).unwrap();
    let mut parts: Vec<Extent> = Vec::new();
    for part in node.extents().map(Result::unwrap) {
        match parts.last_mut() {
            Some(last) if last.place.is_none() && part.place.is_none() => last.length += part.length,
            _ => parts.push(part),
        }
    }
    for part in parts {
        let first = (0, part.length.min(MOST));
        let last = (part.length.saturating_sub(MOST).max(first.1), part.length);
        for (from, to) in [first, last] {
            let mut found = vec![0; usize::try_from(to - from).unwrap()];
            file.read_exact_at(&mut found, part.offset + from).unwrap();
            let mut expected = vec![0; found.len()];
            if let Some(place) = part.place {
                image.read_exact_at(&mut expected, place + from).unwrap();
            }
            assert!(found == expected, "{}: content of {part:?}", path.display());
        }
    }
}

/// Runs `fsck.erofs` where it is installed and knows blocks of 512 bytes, which it does since 1.6.
fn check_with_fsck(image: &Path) {
    let output = match Command::new("fsck.erofs").arg(image).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("not run: fsck.erofs: {error}"),
    };
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if said.contains("blksize") || said.contains("block size") || said.contains("blkszbits") {
        return eprintln!("not run: this fsck.erofs knows no blocks of 512 bytes: {said}");
    }
    assert!(output.status.success(), "fsck.erofs: {said}");
}
