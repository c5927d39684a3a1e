//! One record of each kind and format: what earlier versions of Moat wrote is read, what later ones write is refused.

use std::fs;
use std::path::Path;

use moat_records::root::Root;

use super::fixture::*;
use crate::store::{Digest, ImageId, ImageStore, Reference, StoreError};

/// A list of everything, as the store had it in format 1.
const LIST: &str = include_str!("format-1/index.json");
/// The documents that it leads to, one on each line.
const DOCUMENTS: &str = include_str!("format-1/documents.jsonl");
/// The layer `a` as the registry had it.
const COMPRESSED: &[u8] = include_bytes!("format-1/layer.tar.gz");

/// Makes a store of format 1.
pub(super) fn make_old(root: &Path) {
    let blobs = root.join("images/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let layers = ["a", "b", "c"].map(layer);
    let documents = DOCUMENTS.lines().map(str::as_bytes);
    for blob in documents.chain(layers.iter().map(Vec::as_slice)).chain([COMPRESSED]) {
        fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
    }
    fs::write(root.join("images/oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}\n").unwrap();
    fs::write(root.join("images/index.json"), LIST).unwrap();
}

fn open(root: &Path) -> Result<ImageStore, StoreError> {
    ImageStore::open(&Root::open(root).unwrap())
}

#[test]
fn a_store_of_format_1_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    make_old(directory.path());
    let fixture = Fixture::at(directory.path());
    let pulled = fixture.store.resolve("a.example/x:1").unwrap();
    let names: Vec<String> = pulled.references.iter().map(Reference::to_string).collect();
    assert_eq!(names, ["a.example/x:1", "localhost/app:1"]);
    assert_eq!(pulled.layers[0].diff_id, Digest::of(&layer("a")));
    let manifest = Digest::of(DOCUMENTS.lines().last().unwrap().as_bytes());
    assert_eq!(pulled.digest_in(&"a.example/x".parse().unwrap()), Some(manifest));
    let outgoing = fixture.store.outgoing(&pulled, &"elsewhere/x".parse().unwrap(), |_| ()).unwrap();
    assert_eq!((outgoing.manifest.digest, outgoing.layers[0].digest), (manifest, Digest::of(COMPRESSED)));
    drop(outgoing);
    let images = fixture.store.list().unwrap();
    assert_eq!(images.len(), 3);
    assert_eq!(images.iter().filter(|image| image.references.is_empty()).count(), 1);
    assert_eq!(fixture.store.check().unwrap().faults, [""; 0]);
    let (files, images) = (fixture.files(), fixture.directory.join("images"));
    assert!(!images.join("oci-layout").exists());
    open(&fixture.directory).unwrap();
    assert_eq!(fixture.files(), files);
    for image in fixture.store.list().unwrap() {
        fixture.store.remove::<StoreError>(&image.id.to_string(), true, |_| Ok(Vec::new())).unwrap();
    }
    for empty in ["names", "nameless", "ids", "uses", "blobs/sha256"] {
        assert_eq!(fs::read_dir(images.join(empty)).unwrap().count(), 0, "{empty}");
    }
}

#[test]
fn what_was_damaged_in_a_store_of_format_1_can_still_be_removed() {
    let directory = tempfile::tempdir().unwrap();
    make_old(directory.path());
    let blob =
        |text: &str| directory.path().join("images/blobs/sha256").join(Digest::of(text.as_bytes()).hex());
    let documents: Vec<&str> = DOCUMENTS.lines().collect();
    // The manifest of `old`.
    fs::write(blob(documents[3]), "{}").unwrap();
    let store = open(directory.path()).unwrap();
    assert!(matches!(store.resolve("old"), Err(StoreError::Damaged { .. })));
    assert_eq!(store.list().unwrap().len(), 2);
    store.remove::<StoreError>("old", false, |_| Ok(Vec::new())).unwrap();
    assert!(matches!(store.resolve("old"), Err(StoreError::NoSuchImage(_))));
    assert!(!blob(documents[3]).exists() && !blob(documents[1]).exists());
    assert_eq!(store.check().unwrap().faults, [""; 0]);
}

/// The records of the present formats.
fn records(id: ImageId, manifest: Digest) -> [(String, String); 3] {
    let hex = id.0.hex();
    [
        (
            "index.json".to_owned(),
            format!(r#"{{"format": 2, "index_writer": {}}}"#, moat_rootfs::WRITER_VERSION),
        ),
        (
            format!("ids/{hex}"),
            format!(
                r#"{{"format": 1, "manifest": "{manifest}", "original": "{manifest}", "names": [
                    {{"name": "docker.io/library/app:latest", "origin": {{}}}},
                    {{"name": "a.example/x:1", "origin": {{"manifest": "{manifest}", "digest": "{manifest}"}}}}]}}"#
            ),
        ),
        (
            "change".to_owned(),
            format!(
                r#"{{"format": 1, "nameless": [], "names": [["a.example/x:1", "sha256:{hex}"],
                    ["docker.io/library/other:latest", null]], "named": ["sha256:{hex}"]}}"#
            ),
        ),
    ]
}

#[test]
fn records_of_every_format_are_read_and_newer_ones_refused() {
    let fixture = Fixture::new();
    let id = fixture.load(&docker(&["app", "other"], &[&layer("a")])).unwrap()[0].id;
    let manifest = fixture.store.resolve("app").unwrap().manifest;
    let images = fixture.directory.join("images");
    for (path, record) in records(id, manifest) {
        fs::write(images.join(path), record).unwrap();
    }
    let store = open(&fixture.directory).unwrap();
    let image = store.resolve("a.example/x:1").unwrap();
    assert_eq!(image.references, ["a.example/x:1", "app"].map(|name| name.parse().unwrap()));
    assert_eq!(image.digest_in(&"a.example/x".parse().unwrap()), Some(manifest));
    assert!(matches!(store.resolve("other"), Err(StoreError::NoSuchImage(_))));
    assert!(!images.join("change").exists());

    for (path, record) in records(id, manifest) {
        let before = fs::read(images.join(&path)).ok();
        let newer = record.replacen("\"format\": ", "\"format\": 9", 1);
        fs::write(images.join(&path), &newer).unwrap();
        let error = open(&fixture.directory).and_then(|store| store.resolve("app")).unwrap_err();
        assert!(matches!(error, StoreError::Newer { .. }), "{path}: {error}");
        assert!(error.to_string().contains("a newer version wrote it"), "{error}");
        assert_eq!(fs::read_to_string(images.join(&path)).unwrap(), newer);
        match before {
            Some(before) => fs::write(images.join(&path), before).unwrap(),
            None => fs::remove_file(images.join(&path)).unwrap(),
        }
    }
    open(&fixture.directory).unwrap().resolve("app").unwrap();
}

/// The version of the writer is part of an index's name.
#[test]
fn indexes_of_another_version_go() {
    let fixture = Fixture::new();
    fixture.load(&docker(&["app"], &[&layer("a")])).unwrap();
    let path = only_index(&fixture);
    let old = path.with_file_name(format!("{}.erofs", "0".repeat(64)));
    fs::rename(&path, &old).unwrap();
    fs::write(fixture.directory.join("images/index.json"), r#"{"format": 2, "index_writer": 1}"#).unwrap();
    // After an upgrade there is the old one alone, which goes, and the first container makes the new one.
    let store = open(&fixture.directory).unwrap();
    assert!(!old.exists());
    store.disk(&store.resolve("app").unwrap()).unwrap();
    assert_eq!(only_index(&fixture), path);
    assert_eq!(store.check().unwrap().faults, [""; 0]);
}
