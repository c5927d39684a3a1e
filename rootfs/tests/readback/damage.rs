//! Damage to an index is found, and no bytes make the reader do more than say so.

use moat_rootfs::{FileType, Flaw, IndexError, IndexReader, Node};

use crate::support::{Layer, merge};
use crate::{Fields, Neighbour, is_long};

/// Where the superblock has its features, of which the lowest bit says that it has a checksum.
const FEATURES: usize = 1024 + 8;
const SLOT: usize = 32;

/// One of everything, in as few bytes as that takes; without a checksum, so that changes are seen for what they are.
fn index() -> Vec<u8> {
    let mut layer = Layer::new().file("0", b"x").dir("long");
    for number in 0..17 {
        let name = format!("long/{number:02}{}", "n".repeat(18));
        layer = Neighbour::ALL[number % 8].add(layer, name.as_bytes());
    }
    let target = [b't'; 600];
    let link = Fields { kind: b'2', name: b"target", link: &target, ..Fields::default() };
    let mut bytes = merge(&[layer.long(&link, &[], b"").end()]).unwrap().index().unwrap().bytes().to_vec();
    bytes[FEATURES] &= !1;
    bytes
}

fn verdict(bytes: &[u8]) -> Result<(), IndexError> {
    IndexReader::open(bytes)?.verify()
}

/// The inode that a path leads to.
fn node<'a>(reader: &IndexReader<'a>, path: &str) -> Node<'a> {
    path.split('/').filter(|name| !name.is_empty()).fold(reader.root().unwrap(), |node, name| {
        reader.node(node.lookup(name.as_bytes()).unwrap().unwrap().inode).unwrap()
    })
}

/// Where an inode starts.
fn place(bytes: &[u8], path: &str) -> usize {
    usize::try_from(node(&IndexReader::open(bytes).unwrap(), path).number()).unwrap() * SLOT
}

/// Where a directory's entry or its name is.
fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap()
}

fn assert_flaw(bytes: &[u8], path: &str, flaw: Flaw) {
    assert_eq!(verdict(bytes), Err(IndexError::Path { path: path.to_owned(), flaw }));
}

#[test]
fn what_is_not_an_index() {
    let sound = index();
    assert_eq!(verdict(&sound), Ok(()));
    for length in [0, 1024, 1535] {
        assert_eq!(verdict(&sound[..length]), Err(IndexError::Superblock("is missing")));
    }
    for (at, value, problem) in [
        (1024, 0, "has not the magic number of EROFS"),
        (1036, 12, "has another block size than 512"),
        (1037, 1, "has extension slots"),
        (1064, 1, "does not start its metadata at block 0"),
        (1105, 1, "has features that are not known"),
    ] {
        let mut bytes = sound.clone();
        bytes[at] = value;
        assert_eq!(verdict(&bytes), Err(IndexError::Superblock(problem)));
    }
    let mut bytes = sound;
    bytes[FEATURES] |= 1;
    assert_eq!(verdict(&bytes), Ok(()));
    bytes[1048] ^= 1;
    assert_eq!(verdict(&bytes), Err(IndexError::Superblock("has a wrong checksum")));
}

/// As an older writer made it: something stands at once behind the last name.
#[test]
fn a_name_that_does_not_end() {
    let mut bytes = index();
    let last = format!("16{}", "n".repeat(18));
    let end = find(&bytes, last.as_bytes()) + last.len();
    assert_eq!(bytes[end], 0);
    bytes[end] = 1;
    assert_flaw(&bytes, &format!("/long/{last}"), Flaw::Lookup);
    let reader = IndexReader::open(&bytes).unwrap();
    let directory = node(&reader, "long");
    assert!(directory.entries().any(|entry| entry.unwrap().name == last.as_bytes()));
    assert_eq!(directory.lookup(last.as_bytes()), Ok(None));
}

#[test]
fn each_flaw_is_named() {
    let sound = index();
    // The first block of the layer.
    let behind = u32::try_from(sound.len() / 512).unwrap().to_le_bytes();
    // What is changed: the place, counted from that of a path's inode, and the new bytes.
    let cases: &[(&str, usize, &[u8], &str, Flaw)] = &[
        ("0", 0, &[0x20], "/0", Flaw::Layout),
        ("0", 4, &[0, 0], "/0", Flaw::Mode),
        ("0", 2, &[0xff, 0xff], "/0", Flaw::Attributes),
        ("0", 16, &[0xff, 0xff, 0xff, 0x7f], "/0", Flaw::Data),
        ("0", 6, &[1, 0], "/long/07nnnnnnnnnnnnnnnnnn", Flaw::Links),
        ("0", 6, &[9, 0], "/0", Flaw::Links),
        ("0", 4, &[0xed, 0x41], "/0", Flaw::Type),
        ("long", 6, &[9, 0], "/long", Flaw::Links),
        ("long", 16, &[0xff, 0xff, 0xff, 0x7f], "/long", Flaw::Data),
        ("long", 16, &behind, "/long", Flaw::Content),
        ("long", 8, &[0xff, 0xff, 0xff, 0x7f], "/long", Flaw::Room),
        ("target", 16, &[0xff, 0xff, 0xff, 0x7f], "/target", Flaw::Data),
        ("target", 8, &[0, 0], "/target", Flaw::Target),
    ];
    for (path, offset, change, shown, flaw) in cases {
        let mut bytes = sound.clone();
        let at = place(&bytes, path) + offset;
        bytes[at..at + change.len()].copy_from_slice(change);
        assert_flaw(&bytes, shown, *flaw);
    }
    let root = place(&sound, "/");
    // Entries of the root in their order: `.`, `..`, `0`, `long`, `target`; behind the inode.
    let entry = |number: usize| root + 64 - 32 * usize::from(sound[root] & 1 == 0) + 12 * number;
    let cases: &[(usize, &[u8], &str, Flaw)] = &[
        (entry(2), &[0xff, 0xff, 0xff], "/0", Flaw::Outside),
        (entry(0), &[0], "/", Flaw::Dots),
        (entry(1) + 10, &[1], "/", Flaw::Dots),
        (entry(0) + 8, &[61], "/", Flaw::Entries),
        (entry(4) + 8, &[0xff, 0xff], "/", Flaw::Entries),
        (entry(2) + 10, &[2], "/0", Flaw::Type),
        (entry(2) + 10, &[0], "/", Flaw::Entries),
        // The names: `.`, `..`, `0`.
        (entry(5) + 3, b"z", "/long", Flaw::Unsorted),
        (entry(5) + 3, b"/", "/", Flaw::Entries),
    ];
    for (at, change, shown, flaw) in cases {
        let mut bytes = sound.clone();
        bytes[*at..at + change.len()].copy_from_slice(change);
        assert_flaw(&bytes, shown, *flaw);
    }
    let mut bytes = sound.clone();
    let long = bytes[entry(3)..entry(3) + 8].to_vec();
    bytes[entry(4)..entry(4) + 8].copy_from_slice(&long);
    bytes[entry(4) + 10] = 2;
    assert_flaw(&bytes, "/target", Flaw::SecondName);
    let mut bytes = sound;
    bytes[1040] += 1;
    assert!(matches!(verdict(&bytes), Err(IndexError::Inodes { .. })));
}

/// Every bit turned over, and every shorter index: an answer, and from what is called sound all can be read.
#[test]
fn every_bit() {
    let sound = index();
    for length in (0..sound.len()).step_by(7) {
        let _ = verdict(&sound[..length]);
    }
    let mut found = 0;
    let step = if is_long() { 1 } else { 7 };
    for bit in (0..sound.len() * 8).step_by(step) {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        found += usize::from(verdict(&bytes).is_err());
        let Ok(reader) = IndexReader::open(&bytes) else { continue };
        let Ok(root) = reader.root() else { continue };
        for entry in root.entries().filter_map(Result::ok) {
            if let Ok(node) = reader.node(entry.inode) {
                let _ = node.target();
                let _ = node.xattrs().chain(root.xattrs()).count();
                assert!(
                    node.extents().take(1 << 20).count() <= bytes.len()
                        || node.file_type() == FileType::Regular
                );
            }
        }
    }
    assert!(found * step > 5000, "only {found} of {} bits are noticed", sound.len() * 8 / step);
}
