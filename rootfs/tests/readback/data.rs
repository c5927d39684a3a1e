//! Data: sizes around each edge of a block, targets of links, sparse files.

use std::io::Cursor;

use moat_rootfs::Tree;

use crate::is_long;
use crate::support::mounted::{Mounted, can_mount};
use crate::support::proof::prove;
use crate::support::{Fields, Layer};

/// Lengths around the multiples of a block and of a page.
fn edges(most: usize) -> impl Iterator<Item = usize> + Clone {
    let near = |middle: usize| [middle.wrapping_sub(1), middle, middle + 1];
    (0..=most.div_ceil(512)).map(|blocks| blocks * 512).flat_map(near).filter(move |size| *size <= most)
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 7 + at / 256 + seed) % 251) as u8 + 1).collect()
}

/// The kernel shows what was put in, not only what the index points to.
#[test]
fn files_of_every_edge() {
    let sizes: Vec<usize> = edges(9000).chain([65_535, 65_536, 65_537]).collect();
    let mut layer = Layer::new();
    for (number, size) in sizes.iter().enumerate() {
        layer = layer.file(&format!("{size}"), &pattern(*size, number));
    }
    // The last file of a layer ends with it, in an archive that was cut right behind the data.
    let fields = Fields { name: b"last", size: 777, ..Fields::default() };
    let mut open = layer.clone().header(&fields).open();
    open.extend(pattern(777, 1));
    for layer in [layer.end(), open] {
        let layers = [Layer::new().file("below", b"b").end(), layer];
        prove(&layers);
        if can_mount() {
            let disk = Mounted::of(&layers);
            for (number, size) in sizes.iter().enumerate() {
                let found = std::fs::read(disk.root.join(size.to_string())).unwrap();
                assert!(found == pattern(*size, number), "{size}");
            }
        }
    }
}

/// Targets of every length up to two blocks, around each further edge and at the limit, behind each amount of attributes.
#[test]
fn targets_of_every_length() {
    let lengths = (1..=1030).chain(edges(4095).filter(|length| *length > 1030));
    let attributes = if is_long() {
        (0..=520).step_by(4).collect()
    } else {
        vec![0, 4, 100, 372, 404, 440, 444, 448, 512]
    };
    for (number, value) in std::iter::once(None).chain(attributes.into_iter().map(Some)).enumerate() {
        let mut layer = Layer::new();
        let step = if number < 2 || is_long() { 1 } else { 5 };
        for length in lengths.clone().step_by(step) {
            let path = format!("{length}");
            let target = pattern(length, number).iter().map(|byte| byte | 1).collect::<Vec<_>>();
            let fields = Fields { kind: b'2', name: path.as_bytes(), link: &target, ..Fields::default() };
            let value = value.map(|length| pattern(length, 3));
            let records: Vec<(&str, &[u8])> =
                value.iter().map(|value| ("SCHILY.xattr.trusted.k", value.as_slice())).collect();
            layer = layer.long(&fields, &records, b"");
        }
        prove(&[layer.end()]);
    }
}

/// A sparse file's layer entry, and its content.
fn sparse(layer: Layer, path: &str, parts: &[(usize, usize)], size: usize) -> (Layer, Vec<u8>) {
    let map: Vec<String> = parts.iter().map(|(offset, length)| format!("{offset},{length}")).collect();
    let (map, real) = (map.join(","), size.to_string());
    let (mut stored, mut content) = (Vec::new(), vec![0; size]);
    for (offset, length) in parts {
        let data = pattern(*length, *offset);
        content[*offset..offset + length].copy_from_slice(&data);
        stored.extend(data);
    }
    let records: [(&str, &[u8]); 2] =
        [("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", real.as_bytes())];
    let fields = Fields { name: path.as_bytes(), ..Fields::default() };
    (layer.long(&fields, &records, &stored), content)
}

/// Runs of data that begin and end around edges of blocks and pages, with holes before, between and behind.
#[test]
fn sparse_files() {
    let mut layer = Layer::new();
    let mut contents = Vec::new();
    let edges: Vec<usize> = [0, 1, 511, 512, 513, 1024, 4095, 4096, 4097, 70_000].to_vec();
    for start in &edges {
        for length in [1, 511, 512, 513, 4096, 5000] {
            for behind in [0, 1, 511, 512, 100_000] {
                let end = start + length;
                let path = format!("{start}-{length}-{behind}");
                let parts = [(*start, length), (end + 777, 300), (end + 4096, 512)];
                let few = &parts[..1 + (start + behind) % 3];
                let size = few.last().map_or(0, |(offset, length)| offset + length) + behind;
                let (more, content) = sparse(layer, &path, few, size);
                layer = more;
                contents.push((path, content));
            }
        }
    }
    let layers = [layer.end()];
    prove(&layers);
    if can_mount() {
        let disk = Mounted::of(&layers);
        for (path, content) in contents {
            assert!(std::fs::read(disk.root.join(&path)).unwrap() == content, "{path}");
        }
    }
}

/// Of many chunks, so that the table crosses blocks behind each amount of attributes.
#[test]
fn chunk_tables() {
    let mut layer = Layer::new();
    for (number, value) in (0..=512).step_by(36).enumerate() {
        let chunks = 100 + number;
        let map: Vec<String> = (0..chunks).map(|chunk| format!("{},512", chunk * 1024)).collect();
        let (map, size) = (map.join(","), (chunks * 1024).to_string());
        let value = pattern(value, 1);
        let records: [(&str, &[u8]); 3] = [
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", size.as_bytes()),
            ("SCHILY.xattr.user.k", &value),
        ];
        let fields = Fields { name: &[b'0' + number as u8], ..Fields::default() };
        layer = layer.long(&fields, &records, &pattern(chunks * 512, number));
    }
    prove(&[layer.end()]);
}

/// What the format cannot say is not in the way of what it can: the largest file has no data at all.
#[test]
fn the_largest_file() {
    let size = (16u64 << 40).to_string();
    let records: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"0,512"), ("GNU.sparse.size", size.as_bytes())];
    let fields = Fields { name: b"large", ..Fields::default() };
    let layers = [Layer::new().long(&fields, &records, &[1; 512]).end()];
    prove(&layers);
    let tree = Tree::from_layers(&mut layers.each_ref().map(Cursor::new)).unwrap();
    assert!(tree.index().unwrap().bytes().len() < 32 << 20);
}
