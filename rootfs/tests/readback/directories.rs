//! Directories: every length that their content can have, every neighbour, every kind of name.

use crate::support::{Fields, Layer, proof::prove};
use crate::{Neighbour, is_long};

const BLOCK: usize = 512;
/// What an entry takes beside its name.
const ENTRY: usize = 12;
/// The entries `.` and `..`.
const DOTS: usize = 2 * ENTRY + 3;

/// Lengths of names with which a directory's content becomes `content` bytes long, as blocks are filled from the front.
/// Names have about `usual` bytes. Nothing if there are no such names.
fn names_for(content: usize, usual: usize) -> Option<Vec<usize>> {
    let mut names = Vec::new();
    let mut left = content.checked_sub(DOTS)?;
    let mut free = (BLOCK - DOTS).min(left);
    while left > 0 {
        // The rest of a block is taken as a whole where another name would not leave enough for one more.
        let part = if free < 2 * ENTRY + usual + 1 { free } else { ENTRY + usual };
        if !(ENTRY + 1..=ENTRY + 255).contains(&part) {
            return None;
        }
        names.push(part - ENTRY);
        left -= part;
        free -= part;
        if free == 0 {
            free = BLOCK.min(left);
        }
    }
    Some(names)
}

/// A directory with names of these lengths.
fn directory(layer: Layer, path: &str, lengths: &[usize], neighbour: Neighbour) -> Layer {
    let layer = layer.long(&Fields { kind: b'5', name: path.as_bytes(), ..Fields::default() }, &[], b"");
    lengths.iter().enumerate().fold(layer, |layer, (number, length)| {
        // Sorted as they are numbered where there is room for that; behind `..`.
        let mut name = format!("a{number:03}").into_bytes();
        name.resize((*length).max(1), b'a' + (number % 20) as u8);
        if *length < 4 {
            // Every one of these short names occurs once.
            name[0] = 0x80 + number as u8;
        }
        neighbour.add(layer, &[path.as_bytes(), b"/", &name].concat())
    })
}

/// One image for each kind of neighbour, with a directory for each length.
fn lengths(contents: impl Iterator<Item = usize> + Clone, usual: usize) {
    let mut possible = std::collections::BTreeSet::new();
    for neighbour in Neighbour::ALL {
        let mut layer = Layer::new().file("0", b"x");
        for content in contents.clone() {
            if let Some(names) = names_for(content, usual) {
                possible.insert(content % BLOCK);
                layer = directory(layer, &format!("{content:05}"), &names, neighbour);
            }
        }
        assert!(prove(&[layer.end()]) > 1);
    }
    // A block with a single entry has 13 bytes at least.
    assert!((ENTRY + 1..BLOCK).chain([0]).all(|rest| possible.contains(&rest)), "{possible:?}");
}

/// From the empty directory through the ones that are inline to those with more than a block.
#[test]
fn of_one_and_two_blocks() {
    lengths(DOTS..=2 * BLOCK, 120);
}

#[test]
fn of_three_blocks() {
    if is_long() {
        lengths(2 * BLOCK..=3 * BLOCK, 20);
    }
}

/// The same ends in directories of many entries, where a search takes more steps.
#[test]
fn of_many_short_names() {
    let contents = (BLOCK + ENTRY + 1..=2 * BLOCK).step_by(if is_long() { 1 } else { 32 - 1 });
    for neighbour in [Neighbour::Compact, Neighbour::Extended, Neighbour::Symlink] {
        let mut layer = Layer::new().file("0", b"x");
        for content in contents.clone().chain((1..=32).map(|rest| BLOCK + 32 * rest)) {
            if let Some(names) = names_for(content, 4) {
                layer = directory(layer, &format!("{content:05}"), &names, neighbour);
            }
        }
        prove(&[layer.end()]);
    }
}

/// Each entry that a directory gets, up to several blocks of blocks.
#[test]
fn of_every_number_of_entries() {
    let (most, step) = if is_long() { (700, 1) } else { (300, 13) };
    for (length, neighbour) in
        [(4, Neighbour::Symlink), (20, Neighbour::Extended), (36, Neighbour::Directory)]
    {
        let mut layer = Layer::new().file("0", b"x");
        for count in (0..most).step_by(step) {
            layer = directory(layer, &format!("{count:05}"), &vec![length; count], neighbour);
        }
        prove(&[layer.end()]);
    }
}

/// Content behind the inode, in every place that it can have in a block: attributes move it there.
#[test]
fn behind_their_inodes() {
    let mut layer = Layer::new().file("0", b"x");
    for value in (0..520).step_by(4) {
        let attribute = vec![b'v'; value];
        for content in [DOTS, 100, 200, 256, 380, 447, 448] {
            let path = format!("{value:03}-{content}");
            let fields = Fields { kind: b'5', name: path.as_bytes(), ..Fields::default() };
            layer = layer.long(&fields, &[("SCHILY.xattr.user.k", &attribute)], b"");
            if let Some(names) = names_for(content, 100) {
                for (number, length) in names.iter().enumerate() {
                    let name = format!("{path}/{number}{}", "n".repeat(length - 1));
                    layer = Neighbour::ALL[number % 8].add(layer, name.as_bytes());
                }
            }
        }
    }
    prove(&[layer.end()]);
}

/// Every byte that a name can have, alone and at the end of names that begin alike.
#[test]
fn of_every_byte() {
    let bytes = || (1..=u8::MAX).filter(|byte| *byte != b'/');
    let mut layer = Layer::new();
    for prefix in [&b""[..], b".", b"..", b"n", b"\xff", &[b'p'; 253], &[b'q'; 254]] {
        let directory = format!("{}-{}", prefix.len(), prefix.first().copied().unwrap_or_default());
        for byte in bytes().filter(|byte| prefix.len() > 1 || *byte != b'.') {
            let path = [directory.as_bytes(), b"/", prefix, &[byte]].concat();
            layer = Neighbour::ALL[usize::from(byte) % 6].add(layer, &path);
        }
    }
    prove(&[layer.end()]);
}

/// Names of 1 to 255 bytes, each the beginning of all longer ones, of bytes that sort low and high.
#[test]
fn of_prefixes() {
    let mut layer = Layer::new();
    for (directory, byte) in [("low", 1), ("middle", b'a'), ("high", 0x80), ("highest", 0xff)] {
        for length in 1..=255 {
            let path = [directory.as_bytes(), b"/", &vec![byte; length]].concat();
            layer = Neighbour::ALL[length % 6].add(layer, &path);
        }
    }
    // Each alone in its directory, and with one that differs in the last byte.
    for length in [1, 2, 3, 127, 128, 253, 254, 255] {
        let alone = [format!("alone{length}/").as_bytes(), &vec![b'z'; length]].concat();
        layer = Neighbour::Symlink.add(layer, &alone);
        let mut second = [format!("pair{length}/").as_bytes(), &vec![b'z'; length]].concat();
        layer = Neighbour::Extended.add(layer, &second);
        *second.last_mut().unwrap() = 0xfe;
        layer = Neighbour::Extended.add(layer, &second);
    }
    prove(&[layer.end()]);
}

/// More entries and subdirectories than compact inodes can count links for.
#[test]
fn of_more_than_65536_entries() {
    let count = if is_long() { 70_000 } else { 3_000 };
    let mut layer = Layer::new().file("0", b"x");
    for number in 0..count {
        layer = layer.dir(&format!("directories/{number}")).hardlink(&format!("links/{number}"), "0");
    }
    let layer = layer.end();
    assert_eq!(prove(&[layer]), 2 * count + 4);
}
