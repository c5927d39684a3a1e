//! Look-ups and changes cost the same however many images there are, because they read nothing of the others.

use std::fs;

use super::fixture::*;
use crate::store::record::{ImageRecord, Named, Origin};
use crate::store::{Digest, ImageId, ImageStore, Removed, StoreError};

/// How many other images there are.
const OTHERS: usize = 2000;

/// A store with two images, and records of many others that cannot be read at all: a look at one of them is an error.
fn crowded() -> Fixture {
    let fixture = Fixture::new();
    let shared = layer("shared");
    fixture.load(&docker(&["one:1", "one:2"], &[&shared, &layer("own")])).unwrap();
    fixture.load(&docker(&["two"], &[&shared])).unwrap();
    let layout = &fixture.store.layout;
    let mut links = Vec::new();
    for i in 0..OTHERS {
        let id = ImageId(Digest::of(&i.to_le_bytes()));
        fs::write(layout.record(&id), "nothing that can be read").unwrap();
        links.push((format!("other{i}:1").parse().unwrap(), Some(id)));
        fs::write(layout.blob(&id.0), "nothing").unwrap();
    }
    layout.set_links(&links).unwrap();
    fixture
}

#[test]
fn look_ups_and_changes_read_no_other_image() {
    let fixture = crowded();
    let store = ImageStore::open(&moat_records::root::Root::open(&fixture.directory).unwrap()).unwrap();
    assert!(matches!(store.resolve("other7:1"), Err(StoreError::Record(_))));
    let one = store.resolve("one:1").unwrap();
    for text in [one.id.to_string(), one.id.short(), one.id.0.hex()] {
        assert_eq!(store.resolve(&text).unwrap().id, one.id);
    }
    assert!(store.has(&one.id).unwrap());
    store.disk(&one).unwrap();
    assert!(matches!(store.resolve("three"), Err(StoreError::NoSuchImage(_))));
    store.tag("one:1", &"three".parse().unwrap()).unwrap();
    let tar = layer("pulled");
    let digest = pull(&fixture, "a.example/x", &tar, &gzip(&tar));
    assert_eq!(store.resolve(&format!("a.example/x@{digest}")).unwrap().layers.len(), 1);
    fixture.load(&docker(&["three"], &[&layer("new")])).unwrap();
    let mut archive = Vec::new();
    store.save(&["one".to_owned(), "three".to_owned()], &mut archive).unwrap();
    for (name, deleted) in [("one:2", 0), ("three", 2), ("a.example/x", 2), ("one:1", 2), ("two", 2)] {
        let removed = fixture.remove(name);
        let gone = removed.iter().filter(|one| matches!(one, Removed::Deleted(_))).count();
        assert_eq!(gone, deleted, "{name}: {removed:?}");
    }
    // What is left belongs to the others.
    assert_eq!(store.layout.all_blobs().unwrap().len(), OTHERS);
    assert_eq!(fs::read_dir(store.layout.uses()).unwrap().count(), 0);
}

#[test]
fn a_name_that_leads_to_an_image_without_it_is_no_name() {
    let fixture = Fixture::new();
    let id = fixture.load(&docker(&["app"], &[&layer("a")])).unwrap()[0].id;
    let layout = &fixture.store.layout;
    let nothing = ImageId(Digest::of(b"nothing"));
    layout
        .set_links(&[("wrong".parse().unwrap(), Some(id)), ("gone".parse().unwrap(), Some(nothing))])
        .unwrap();
    for name in ["wrong", "gone"] {
        assert!(matches!(fixture.store.resolve(name), Err(StoreError::NoSuchImage(_))), "{name}");
    }
    assert_eq!(fixture.store.check().unwrap().faults.len(), 2);
    // What a record says of a name that leads elsewhere does not count.
    let manifest = fixture.store.resolve("app").unwrap().manifest;
    let names = ["app", "stale"].map(|name| Named { name: name.parse().unwrap(), origin: Origin::default() });
    let stale = ImageRecord { names: names.to_vec(), ..ImageRecord::new(manifest) };
    moat_records::record::write_document(&layout.record(&id), &stale).unwrap();
    assert_eq!(fixture.store.resolve("app").unwrap().references, ["app".parse().unwrap()]);
    fixture.store.remove_abandoned().unwrap();
    assert_eq!(fixture.entries(), 1);
    assert_eq!(fixture.store.check().unwrap().faults, [""; 0]);
}
