//! Names and ids: what they lead to, and what goes out under them.

use super::fixture::*;
use crate::store::{Digest, Replaced, StoreError};

#[test]
fn a_name_moves_to_the_image_that_was_loaded_last() {
    let fixture = Fixture::new();
    let (old, new) = (layer("old"), layer("new"));
    let first = fixture.load(&docker(&["app"], &[&old])).unwrap().remove(0);
    let second = fixture.load(&docker(&["app"], &[&new])).unwrap().remove(0);
    assert_eq!(second.replaced, [Replaced { reference: "app".parse().unwrap(), id: first.id }]);
    assert_eq!(fixture.store.resolve("app").unwrap().id, second.id);
    assert!(fixture.store.resolve(&first.id.to_string()).unwrap().references.is_empty());
    // An image without a name loses that state when it gets one.
    fixture.load(&docker(&["old"], &[&old])).unwrap();
    assert_eq!(fixture.entries(), 2);
}

#[test]
fn ids_may_be_cut_short_until_they_are_ambiguous() {
    let fixture = Fixture::new();
    // Enough images that two ids begin with the same digit.
    let tars: Vec<Vec<u8>> = (0..17).map(|i| layer(&i.to_string())).collect();
    for tar in &tars {
        fixture.load(&docker(&[], &[tar])).unwrap();
    }
    let images = fixture.store.list().unwrap();
    for image in &images {
        let hex = image.id.0.hex();
        assert_eq!(fixture.store.resolve(&hex[..10]).unwrap().id, image.id);
        assert_eq!(fixture.store.resolve(&format!("sha256:{}", &hex[..10])).unwrap().id, image.id);
    }
    let ambiguous =
        |digit: char| matches!(fixture.store.resolve(&digit.to_string()), Err(StoreError::Ambiguous(_)));
    assert!("0123456789abcdef".chars().any(ambiguous));
}

#[test]
fn what_goes_out_under_a_name_is_what_came_under_it() {
    let fixture = Fixture::new();
    let tar = layer("a");
    let (first, second) =
        (pull(&fixture, "a.example/x", &tar, &gzip(&tar)), pull(&fixture, "b.example/x", &tar, &zstd(&tar)));
    let outgoing = |name: &str| {
        let image = fixture.store.resolve("a.example/x").unwrap();
        fixture.store.outgoing(&image, &name.parse().unwrap(), |_| ()).unwrap().manifest.digest
    };
    // By name, by repository, and else what came last.
    for (name, expected) in [
        ("a.example/x", first),
        ("b.example/x", second),
        ("a.example/x:2", first),
        ("b.example/x:2", second),
        ("c.example/x", second),
    ] {
        assert_eq!(outgoing(name), expected, "{name}");
    }
    fixture.store.tag("a.example/x", &"c.example/x".parse().unwrap()).unwrap();
    assert_eq!(outgoing("c.example/x"), first);
}

#[test]
fn a_name_with_a_digest_means_what_the_registry_has() {
    let fixture = Fixture::new();
    let (a, b) = (layer("a"), layer("b"));
    let (first, second) =
        (pull(&fixture, "a.example/x:1", &a, &gzip(&a)), pull(&fixture, "a.example/x:2", &b, &gzip(&b)));
    let id = |name: &str| fixture.store.resolve(name).unwrap().id;
    assert_eq!(id(&format!("a.example/x@{first}")), id("a.example/x:1"));
    assert_eq!(id(&format!("a.example/x:9@{second}")), id("a.example/x:2"));
    for nothing in [format!("b.example/x@{first}"), format!("a.example/x@{}", Digest::of(b"other"))] {
        assert!(matches!(fixture.store.resolve(&nothing), Err(StoreError::NoSuchImage(_))), "{nothing}");
    }
}
