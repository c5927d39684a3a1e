//! The image, read back, against a simple model of what layers mean; and bytes that are no layers at all.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use support::erofs::Image;
use support::{Fields, Layer, disk, merge};

/// One of everything that is written in a way of its own.
fn everything() -> Vec<Vec<u8>> {
    let mut many = Layer::new().dir("many");
    for index in 0..200 {
        many = many.file(&format!("many/{index:03}-{}", "n".repeat(index % 80)), &[index as u8; 3]);
    }
    let long = "/target".repeat(120);
    let first = many
        .dir("./")
        .dir("empty")
        .file("a", b"alpha")
        .hardlink("b", "a")
        .symlink("short", "a")
        .special(b'K', long.as_bytes())
        .symlink("long", "x")
        .device("null", 1, 3)
        .header(&Fields { kind: b'6', name: b"fifo", ..Fields::default() });
    let sparse: &[(&str, &[u8])] =
        &[("GNU.sparse.map", b"0,512,4096,10,100000,5"), ("GNU.sparse.size", b"123456")];
    let second = Layer::new()
        .pax(&[
            ("SCHILY.xattr.user.k", b"v"),
            ("SCHILY.xattr.security.capability", &[1; 20]),
            ("mtime", b"5.25"),
        ])
        .file("x", b"")
        .pax(&[("SCHILY.xattr.trusted.big", &[7; 3000])])
        .dir("many/x")
        .pax(&[("uid", b"70000")])
        .file("owned", b"o")
        .pax(sparse)
        .file("sparse", &[9; 527])
        .file("-before-dot", b"-");
    vec![first.end(), second.open()]
}

#[test]
fn everything_reads_back() {
    let layers = everything();
    let disk = disk(&layers);
    let all = Image { disk: &disk }.read();
    let node = |path: &str| &all[path.as_bytes()];
    assert_eq!(all.len(), 214);
    assert_eq!(node("/a").content, b"alpha");
    assert_eq!((node("/a").number, node("/a").links), (node("/b").number, 2));
    assert_eq!(node("/long").content, "/target".repeat(120).as_bytes());
    assert_eq!((node("/long").mode, node("/null").rdev, node("/fifo").mode), (0o120_777, 0x103, 0o010_644));
    assert_eq!((node("/many").links, node("/").links), (3, 4));
    assert_eq!(node(&format!("/many/199-{}", "n".repeat(199 % 80))).content, [199; 3]);
    let xattrs = [(6, b"capability".to_vec(), vec![1; 20]), (1, b"k".to_vec(), b"v".to_vec())];
    assert_eq!((node("/x").xattrs.as_slice(), node("/x").mtime), (&xattrs[..], (5, 250_000_000)));
    assert_eq!(node("/many/x").xattrs, [(4, b"big".to_vec(), vec![7; 3000])]);
    assert_eq!(node("/owned").uid, 70_000);
    let mut sparse = vec![0; 123_456];
    sparse[..512].fill(9);
    sparse[4096..4106].fill(9);
    sparse[100_000..100_005].fill(9);
    assert!(node("/sparse").content == sparse);
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    let index = merge(&everything()).unwrap().index().unwrap();
    let again = merge(&everything()).unwrap().index().unwrap();
    assert_eq!(index.bytes(), again.bytes());
    let digest: String = Sha256::digest(index.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    // A change of these bytes needs another WRITER_VERSION: indexes in caches are of the old kind.
    assert_eq!(
        (moat_rootfs::WRITER_VERSION, digest.as_str()),
        (2, "7e3031974f20ec11c40ba2b746e4504921f653ada7177f72a6945e5a2f09e38a")
    );
    let other = disk(&[Layer::new().file("f", b"").end()]);
    assert_ne!(Image { disk: &other }.uuid(), &index.bytes()[1072..1088]);
}

#[test]
fn what_lies_deep_costs_no_stack() {
    let mut layer = Layer::new();
    let mut path = String::new();
    for _ in 0..1000 {
        path.push_str("d/");
        layer = layer.pax(&[("path", path.as_bytes())]).dir("x");
    }
    let layers = [layer.end(), Layer::new().file(".wh.d", b"").end()];
    assert_eq!(Image { disk: &disk(&layers[..1]) }.read().len(), 1001);
    assert_eq!(support::paths(&layers), "");
}

#[derive(Debug, Clone)]
enum Step {
    Dir(String),
    File(String, u8),
    Link(String, String),
    Whiteout(String),
    Opaque(String),
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => path().prop_map(Step::Dir),
        4 => (path(), any::<u8>()).prop_map(|(path, data)| Step::File(path, data)),
        1 => (path(), path()).prop_map(|(path, target)| Step::Link(path, target)),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ]
}

/// Path to identity and content; `None` for a directory.
type Model = BTreeMap<String, Option<(usize, u8)>>;

/// Applies one layer; `false` if it is not acceptable.
fn apply(model: &mut Model, steps: &[Step], next: &mut usize) -> bool {
    let mut touched: BTreeSet<String> = BTreeSet::new();
    let below = |path: &str, other: &str| other.starts_with(&format!("{path}/"));
    for step in steps {
        let (path, what) = match step {
            Step::Whiteout(path) | Step::Opaque(path) => {
                let whole = matches!(step, Step::Whiteout(_));
                model.retain(|other, _| {
                    touched.contains(other) || !(below(path, other) || whole && other == path)
                });
                // A whiteout below a file is below nothing.
                if path.match_indices('/').any(|(at, _)| matches!(model.get(&path[..at]), Some(Some(_))))
                    || !whole && matches!(model.get(path), Some(Some(_)))
                {
                    return false;
                }
                continue;
            }
            Step::Dir(path) => (path, Ok(None)),
            Step::File(path, data) => {
                *next += 1;
                (path, Ok(Some((*next, *data))))
            }
            Step::Link(path, target) => (path, Err(target)),
        };
        let parents: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        for parent in &parents {
            if model.entry((*parent).to_owned()).or_default().is_some() {
                return false;
            }
        }
        let node = match what {
            Ok(node) => node,
            Err(target) => match model.get(target) {
                Some(Some(file)) if target != path => Some(*file),
                _ => return false,
            },
        };
        if !(node.is_none() && matches!(model.get(path), Some(None))) {
            model.retain(|other, _| !below(path, other));
            model.insert(path.clone(), node);
        }
        touched.extend(parents.iter().map(|parent| (*parent).to_owned()));
        touched.insert(path.clone());
    }
    true
}

fn layer(steps: &[Step]) -> Vec<u8> {
    let whiteout = |path: &str| match path.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/.wh.{name}"),
        None => format!(".wh.{path}"),
    };
    let add = |layer: Layer, step: &Step| match step {
        Step::Dir(path) => layer.dir(path),
        Step::File(path, data) => layer.file(path, &[*data]),
        Step::Link(path, target) => layer.hardlink(path, target),
        Step::Whiteout(path) => layer.file(&whiteout(path), b""),
        Step::Opaque(path) => layer.file(&format!("{path}/.wh..wh..opq"), b""),
    };
    steps.iter().fold(Layer::new(), add).end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn merging_does_what_the_model_does(steps in proptest::collection::vec(proptest::collection::vec(step(), 0..8), 1..5)) {
        let mut model = Model::new();
        let mut next = 0;
        let mut layers = Vec::new();
        for steps in steps {
            // What the model refuses must be an error; then it goes on without that step.
            let mut good: Vec<Step> = Vec::new();
            for step in steps {
                good.push(step);
                if !apply(&mut model.clone(), &good, &mut next) {
                    let all = [layers.as_slice(), &[layer(&good)]].concat();
                    prop_assert!(merge(&all).is_err());
                    good.pop();
                }
            }
            apply(&mut model, &good, &mut next);
            layers.push(layer(&good));
        }
        let disk = disk(&layers);
        let mut all = Image { disk: &disk }.read();
        all.remove(&b"/"[..]);
        let expected: Vec<String> = model.keys().map(|path| format!("/{path}")).collect();
        let found: Vec<String> = all.keys().map(|path| String::from_utf8(path.clone()).unwrap()).collect();
        prop_assert_eq!(&found.iter().collect::<BTreeSet<_>>(), &expected.iter().collect::<BTreeSet<_>>());
        let mut numbers = BTreeMap::new();
        for (path, node) in &model {
            let read = &all[format!("/{path}").as_bytes()];
            match node {
                None => prop_assert_eq!(read.mode >> 12, 0o4),
                Some((identity, data)) => {
                    prop_assert_eq!(&read.content, &[*data]);
                    prop_assert_eq!(*numbers.entry(*identity).or_insert(read.number), read.number);
                    let names = model.values().flatten().filter(|(other, _)| other == identity).count();
                    prop_assert_eq!(read.links as usize, names);
                }
            }
        }
        prop_assert_eq!(numbers.values().collect::<BTreeSet<_>>().len(), numbers.len());
    }

    #[test]
    fn any_bytes_end_in_a_tree_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = merge(&[bytes]).map(|tree| tree.index());
    }

    /// Changed bytes of a good layer, with the checksums made right again, get deeper than noise.
    #[test]
    fn damaged_layers_end_in_a_tree_or_an_error(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..20)) {
        let mut layers = everything();
        // Without the 200 files in front, so that changes meet something.
        let layer = &mut layers[1];
        for (at, byte) in changes {
            let at = usize::from(at) % layer.len();
            layer[at] = byte;
        }
        for block in layer.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
            let mut header = tar::Header::from_byte_slice(block).clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        let _ = merge(&layers).map(|tree| tree.index());
    }
}
