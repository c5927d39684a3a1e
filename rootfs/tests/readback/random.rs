//! Trees of everything at once, by chance.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::proof::{prove, reads_back};
use crate::support::{Layer, merge};
use crate::{Fields, Neighbour};

/// A file of some kind below one of a few directories, with attributes of some length.
#[derive(Debug, Clone)]
struct Item {
    directory: u8,
    name: Vec<u8>,
    kind: usize,
    attributes: usize,
    target: usize,
}

fn item() -> impl Strategy<Value = Item> {
    let byte = prop_oneof![8 => b'a'..=b'c', 1 => any::<u8>().prop_filter("a name", |byte| !matches!(byte, 0 | b'/'))];
    let length = prop_oneof![6 => 1usize..40, 1 => 1usize..=255, 1 => Just(20usize)];
    let name = length.prop_flat_map(move |length| proptest::collection::vec(byte.clone(), length));
    let name = name.prop_filter("not a dot", |name| !matches!(name.as_slice(), b"." | b".."));
    let name = name.prop_filter("no whiteout", |name| !name.starts_with(b".wh."));
    (0u8..6, name, 0..Neighbour::ALL.len() + 2, 0usize..600, 1usize..=4095).prop_map(
        |(directory, name, kind, attributes, target)| Item { directory, name, kind, attributes, target },
    )
}

fn layer(items: &[Item]) -> Vec<u8> {
    let layer = (0..6).fold(Layer::new().file("0", b"x"), |layer, number| layer.dir(&format!("d{number}")));
    let layer = items.iter().fold(layer, |layer, item| {
        let path = [format!("d{}/", item.directory).as_bytes(), &item.name].concat();
        let (value, target) = (vec![b'v'; item.attributes], vec![b't'; item.target]);
        let xattr: [(&str, &[u8]); 1] = [("SCHILY.xattr.trusted.k", &value)];
        match Neighbour::ALL.get(item.kind) {
            Some(neighbour) => neighbour.add(layer, &path),
            None if item.kind == Neighbour::ALL.len() => {
                let link = Fields { kind: b'2', name: &path, link: &target, ..Fields::default() };
                layer.long(&link, &xattr, b"")
            }
            None => layer.long(&Fields { kind: b'5', name: &path, ..Fields::default() }, &xattr, b""),
        }
    });
    layer.end()
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    proptest::collection::vec(item(), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn trees_read_back(items in items()) {
        let tree = merge(&[layer(&items)]).unwrap();
        let index = tree.index().unwrap();
        prop_assert!(reads_back(&tree, &index) >= 8);
    }
}

/// One tree of each run goes through the kernel too.
#[test]
fn a_tree_is_mounted() {
    let mut runner = TestRunner::default();
    let items = proptest::collection::vec(item(), 2000).new_tree(&mut runner).unwrap().current();
    eprintln!("{} files, the first {:?}", items.len(), items.first());
    prove(&[layer(&items)]);
}
