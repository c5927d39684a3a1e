//! Removal: what goes, what stays, and what is refused.

use std::fs;

use super::fixture::*;
use crate::store::{Digest, ImageUser, Removed, StoreError};

#[test]
fn removing_the_last_name_removes_what_no_other_image_needs() {
    let fixture = Fixture::new();
    let empty = fixture.files();
    let (shared, own) = (layer("shared"), layer("own"));
    let big = fixture.load(&docker(&["big:1", "big:2"], &[&shared, &own])).unwrap().remove(0);
    let small = fixture.load(&docker(&["small"], &[&shared])).unwrap().remove(0);
    assert_eq!(fixture.remove("big:1"), [Removed::Untagged("big:1".parse().unwrap())]);
    assert_eq!(
        fixture.remove(&big.id.short()),
        [
            Removed::Untagged("big:2".parse().unwrap()),
            Removed::Deleted(big.id.0),
            Removed::Deleted(Digest::of(&own)),
        ]
    );
    fixture.store.disk(&fixture.store.resolve("small").unwrap()).unwrap();
    assert!(matches!(fixture.store.resolve("big:2"), Err(StoreError::NoSuchImage(_))));
    fixture.remove(&small.id.to_string());
    assert_eq!(fixture.files(), empty);
}

#[test]
fn an_image_in_use_stays() {
    let fixture = Fixture::new();
    let tar = layer("a");
    let id = fixture.load(&docker(&["app:1", "other:1"], &[&tar])).unwrap()[0].id;
    let remove = |name: &str, force, running| {
        let users = vec![ImageUser { container: "c0ffee".to_owned(), running }];
        fixture.store.remove::<StoreError>(name, force, |_| Ok(users))
    };
    let message = |name: &str, force, running| remove(name, force, running).unwrap_err().to_string();
    let short = id.short();
    assert_eq!(
        message(&short, false, true),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container c0ffee"
        )
    );
    assert_eq!(
        message(&short, false, false),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container c0ffee"
        )
    );
    // One of several names can go, the last one only by force.
    remove("other:1", false, true).unwrap();
    assert_eq!(
        message("app:1", false, true),
        format!(
            "conflict: unable to remove repository reference \"app:1\" (must force) - container c0ffee is using its \
             referenced image {short}"
        )
    );
    assert_eq!(remove("app:1", true, true).unwrap(), [Removed::Untagged("app:1".parse().unwrap())]);
    let image = fixture.store.resolve(&short).unwrap();
    assert!(image.references.is_empty());
    fixture.store.disk(&image).unwrap();
    assert!(message(&short, true, false).contains("cannot be forced"));
}

#[test]
fn names_in_several_repositories_must_be_forced() {
    let fixture = Fixture::new();
    let tar = layer("a");
    let id = fixture.load(&docker(&["a:1", "b:1"], &[&tar])).unwrap()[0].id;
    let remove = |force| fixture.store.remove::<StoreError>(&id.short(), force, |_| Ok(Vec::new()));
    let error = remove(false).unwrap_err().to_string();
    assert!(error.contains("(must be forced) - image is referenced in multiple repositories"), "{error}");
    assert_eq!(remove(true).unwrap().len(), 4);
}

#[test]
fn a_damaged_image_harms_no_other_and_can_be_removed() {
    let fixture = Fixture::new();
    let (good, bad) = (layer("good"), layer("bad"));
    fixture.load(&docker(&["good"], &[&good])).unwrap();
    let id = fixture.load(&docker(&["bad"], &[&bad])).unwrap()[0].id;
    let path = fixture.store.layout.blob(&id.0);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "{}").unwrap();
    assert_eq!(fixture.store.list().unwrap().len(), 1);
    assert!(matches!(fixture.store.resolve("bad"), Err(StoreError::Damaged { .. })));
    fixture.remove("bad");
    assert!(matches!(fixture.store.resolve("bad"), Err(StoreError::NoSuchImage(_))));
    fixture.remove("good");
    assert!(!path.exists());
}

#[test]
fn with_the_last_tag_of_a_repository_go_its_names_by_digest() {
    let fixture = Fixture::new();
    let (empty, tar) = (fixture.files(), layer("a"));
    let digest = pull(&fixture, "a.example/x:1", &tar, &gzip(&tar));
    let by_digest = format!("a.example/x@{digest}");
    pull(&fixture, &by_digest, &tar, &gzip(&tar));
    let untagged = |name: &str| Removed::Untagged(name.parse().unwrap());
    fixture.store.tag("a.example/x:1", &"a.example/x:2".parse().unwrap()).unwrap();
    assert_eq!(fixture.remove("a.example/x:2"), [untagged("a.example/x:2")]);
    let removed = fixture.remove("a.example/x:1");
    assert_eq!(removed[..2], [untagged("a.example/x:1"), untagged(&by_digest)]);
    assert!(removed[2..].iter().all(|one| matches!(one, Removed::Deleted(_))), "{removed:?}");
    let mut after = fixture.files();
    after.retain(|path| !path.ends_with("partial"));
    assert_eq!(after, empty);
}

#[test]
fn an_image_without_a_readable_record_can_be_removed() {
    let fixture = Fixture::new();
    let empty = fixture.files();
    let id = fixture.load(&docker(&["bad:1", "bad:2"], &[&layer("bad")])).unwrap()[0].id;
    fs::write(fixture.store.layout.record(&id), "{").unwrap();
    assert!(matches!(fixture.store.resolve("bad:1"), Err(StoreError::Record(_))));
    assert_eq!(fixture.remove("bad:1"), [Removed::Untagged("bad:1".parse().unwrap())]);
    assert_eq!(fixture.files(), empty);
}
