//! Archives made here, good and bad. Those of other people's tools are in the integration tests.

use std::io::Write;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::*;
use crate::record;
use crate::root::Root;
use crate::store::limits::MAX_NAMES;
use crate::store::{ImageUser, Pulled, Removed, WantedLayer};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

struct Fixture {
    directory: tempfile::TempDir,
    store: ImageStore,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&Root::open(directory.path()).unwrap()).unwrap();
        Self { directory, store }
    }

    fn load(&self, archive: &[u8]) -> Result<Vec<Loaded>, StoreError> {
        self.store.load(archive, |_| ())
    }

    /// The error of loading it, after making sure that nothing is left.
    fn refused(&self, archive: &[u8]) -> String {
        let before = self.files();
        let error = self.load(archive).unwrap_err().to_string();
        assert_eq!(self.files(), before, "{error}");
        error
    }

    /// Every file under the root.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path.clone())
                }
                files.push(path);
            }
        }
        files.sort();
        files
    }

    fn remove(&self, name: &str) -> Vec<Removed> {
        self.store.remove::<StoreError>(name, false, |_| Ok(Vec::new())).unwrap()
    }
}

fn file(name: &str, content: &[u8]) -> (Header, Vec<u8>) {
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    (header, content.to_vec())
}

fn link(name: &str, kind: EntryType, target: &str) -> (Header, Vec<u8>) {
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_link_name_literal(target).unwrap();
    header.set_size(0);
    header.set_cksum();
    (header, Vec::new())
}

fn archive(members: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (header, content) in members {
        builder.append(header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layer of one file.
fn layer(content: &str) -> Vec<u8> {
    archive(&[file("file", content.as_bytes())])
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-05-01T00:00:00Z", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    serde_json::to_vec(&config).unwrap()
}

/// A docker archive of one image.
fn docker(tags: &[&str], layers: &[&[u8]]) -> Vec<u8> {
    let config = config(layers);
    let name = format!("{}.json", Digest::of(&config).hex());
    let paths: Vec<String> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": paths}]);
    let mut members: Vec<_> = paths.iter().zip(layers).map(|(path, layer)| file(path, layer)).collect();
    members.push(file(&name, &config));
    members.push(file("manifest.json", &serde_json::to_vec(&manifest).unwrap()));
    archive(&members)
}

fn descriptor_of(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content).to_string(), "size": content.len()})
}

fn blob(content: &[u8]) -> (Header, Vec<u8>) {
    file(&format!("blobs/sha256/{}", Digest::of(content).hex()), content)
}

/// The blobs of an OCI image of one layer, and the descriptor of its manifest.
fn oci_image(tar: &[u8], stored: &[u8], media_type: &str) -> (Vec<(Header, Vec<u8>)>, Value) {
    let config = config(&[tar]);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor_of(CONFIG, &config),
        "layers": [descriptor_of(media_type, stored)],
    }));
    let manifest = manifest.unwrap();
    let pointer = descriptor_of(MANIFEST, &manifest);
    (vec![blob(stored), blob(&config), blob(&manifest)], pointer)
}

fn index(manifests: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})).unwrap()
}

fn named(mut descriptor: Value, key: &str, name: &str) -> Value {
    descriptor["annotations"] = json!({key: name});
    descriptor
}

/// An OCI archive with `index.json` first.
fn oci(mut blobs: Vec<(Header, Vec<u8>)>, manifests: &[Value]) -> Vec<u8> {
    blobs.insert(0, file("index.json", &index(manifests)));
    blobs.insert(0, file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#));
    archive(&blobs)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 1).unwrap()
}

#[test]
fn a_docker_archive_is_loaded_whatever_it_is_wrapped_in() {
    let fixture = Fixture::new();
    let (a, b) = (layer("a"), layer("b"));
    let plain = docker(&["localhost/app:1", "localhost/app:2"], &[&a, &b]);
    for wrapped in [plain.clone(), gzip(&plain), zstd(&plain)] {
        let loaded = fixture.load(&wrapped).unwrap();
        assert_eq!(loaded.len(), 1);
        assert!(loaded[0].replaced.is_empty());
        let image = fixture.store.resolve("localhost/app:2").unwrap();
        assert_eq!(image.id, loaded[0].id);
        assert_eq!(image.references.len(), 2);
        assert_eq!(image.size(), (a.len() + b.len()) as u64);
        assert_eq!(image.created().unwrap().to_string(), "2024-05-01T00:00:00Z");
        let disk = fixture.store.disk(&image).unwrap();
        assert_eq!(disk.segments.len(), 3);
        assert_eq!(fixture.store.list().unwrap().len(), 1);
    }
    // Two layers, the config, the manifest.
    let blobs = fixture.files().into_iter().filter(|path| path.to_str().unwrap().contains("blobs/sha256/"));
    assert_eq!(blobs.count(), 4);
}

#[test]
fn a_layer_may_be_a_link_to_another() {
    let fixture = Fixture::new();
    let tar = layer("a");
    let config = config(&[&tar, &tar, &tar]);
    let layers = ["1/layer.tar", "./2/layer.tar", "3/layer.tar"];
    let manifest = json!([{"Config": "config.json", "RepoTags": null, "Layers": layers}]);
    let members = [
        file("manifest.json", &serde_json::to_vec(&manifest).unwrap()),
        link("2/layer.tar", EntryType::Symlink, "../1/layer.tar"),
        link("3/layer.tar", EntryType::Link, "1/layer.tar"),
        file("./config.json", &config),
        file("./1/layer.tar", &tar),
    ];
    let loaded = fixture.load(&archive(&members)).unwrap();
    let image = fixture.store.resolve(&loaded[0].id.short()).unwrap();
    assert_eq!(image.layers.len(), 3);
    assert!(image.references.is_empty());
}

#[test]
fn oci_layers_may_be_compressed() {
    let tar = layer("content");
    let halves = [gzip(&tar[..700]), gzip(&tar[700..])].concat();
    for stored in [tar.clone(), gzip(&tar), halves, zstd(&tar)] {
        let fixture = Fixture::new();
        let (blobs, pointer) = oci_image(&tar, &stored, LAYER);
        let pointer = named(pointer, "org.opencontainers.image.ref.name", "ghcr.io/a/b:1");
        fixture.load(&oci(blobs, &[pointer])).unwrap();
        let image = fixture.store.resolve("ghcr.io/a/b:1").unwrap();
        assert_eq!(fs::read(fixture.store.layout.blob(&image.layers[0].diff_id)).unwrap(), tar);
    }
}

#[test]
fn an_index_of_platforms_gives_the_one_for_this_machine() {
    let fixture = Fixture::new();
    let tar = layer("content");
    let (mut blobs, mut ours) = oci_image(&tar, &tar, LAYER);
    ours["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut other = descriptor_of(MANIFEST, b"not in the archive");
    other["platform"] = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
    let inner = index(&[other.clone(), ours]);
    blobs.push(blob(&inner));
    let pointer = named(descriptor_of(INDEX, &inner), "io.containerd.image.name", "docker.io/library/app:1");
    fixture.load(&oci(blobs.clone(), &[pointer])).unwrap();
    fixture.store.resolve("app:1").unwrap();
    let error = fixture.refused(&oci(blobs, &[other]));
    assert!(error.contains("no image for linux/amd64, only for linux/arm64"), "{error}");
}

#[test]
fn a_word_alone_is_no_name() {
    let fixture = Fixture::new();
    let tar = layer("content");
    let (blobs, pointer) = oci_image(&tar, &tar, LAYER);
    let pointer = named(pointer, "org.opencontainers.image.ref.name", "latest");
    let loaded = fixture.load(&oci(blobs, &[pointer])).unwrap();
    assert!(loaded[0].references.is_empty());
    assert_eq!(fixture.store.list().unwrap().len(), 1);
}

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
    assert_eq!(fixture.store.layout.read_index().unwrap().len(), 2);
}

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
fn what_a_killed_load_left_is_removed_when_the_store_is_opened() {
    let fixture = Fixture::new();
    fixture.load(&docker(&["app"], &[&layer("a")])).unwrap();
    let before = fixture.files();
    let staging = fixture.store.staging().join("0123456789abcdef");
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("0"), "half a layer").unwrap();
    fs::write(fixture.store.layout.blob(&Digest::of(b"moved in already")), "moved in already").unwrap();
    fs::write(fixture.directory.path().join("images/index.1.tmp"), "{").unwrap();
    let store = ImageStore::open(&Root::open(fixture.directory.path()).unwrap()).unwrap();
    assert_eq!(fixture.files(), before);
    store.disk(&store.resolve("app").unwrap()).unwrap();
}

/// The only index of a store.
fn only_index(fixture: &Fixture) -> PathBuf {
    let directory = fixture.directory.path().join("indexes");
    let paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = paths.as_slice() else { panic!("{paths:?}") };
    path.clone()
}

#[test]
fn a_damaged_index_is_named_and_made_again() {
    let fixture = Fixture::new();
    fixture.load(&docker(&["app"], &[&layer("a")])).unwrap();
    assert_eq!(fixture.store.check().unwrap().faults, Vec::<String>::new());
    let path = only_index(&fixture);
    let sound = fs::read(&path).unwrap();
    let replace = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    let other = moat_rootfs::build_index(&mut [std::io::Cursor::new(layer("longer"))]).unwrap();
    let mut changed = sound.clone();
    changed[1536] ^= 0x40;
    for (bytes, what) in [
        (&b""[..], "the superblock is missing"),
        (&sound[..sound.len() - 512], ""),
        (&changed, ""),
        (other.bytes(), "it is not the index of the image's layers"),
    ] {
        replace(bytes);
        let faults = fixture.store.check().unwrap().faults;
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        assert!(fault.contains(&format!("the index {} was damaged", path.display())), "{fault}");
        assert!(fault.contains("has been made again") && fault.ends_with(what), "{fault}");
        assert_eq!(fs::read(&path).unwrap(), sound);
        assert_eq!(fixture.store.check().unwrap().faults, Vec::<String>::new());
    }
}

/// The version of the writer is part of an index's name.
#[test]
fn indexes_of_another_version_go() {
    let fixture = Fixture::new();
    fixture.load(&docker(&["app"], &[&layer("a")])).unwrap();
    let path = only_index(&fixture);
    let old = path.with_file_name(format!("{}.erofs", "0".repeat(64)));
    let image = fixture.store.resolve("app").unwrap();
    // After an upgrade there is the old one alone, and the first container makes the new one.
    fs::rename(&path, &old).unwrap();
    fixture.store.disk(&image).unwrap();
    assert_eq!(only_index(&fixture), path);
    fs::copy(&path, &old).unwrap();
    assert_eq!(fixture.store.check().unwrap().faults, Vec::<String>::new());
    assert_eq!(only_index(&fixture), path);
}

#[test]
fn a_lost_index_is_made_again() {
    let fixture = Fixture::new();
    fixture.load(&docker(&["app"], &[&layer("a")])).unwrap();
    let image = fixture.store.resolve("app").unwrap();
    let first = fixture.store.disk(&image).unwrap().segments[0].length;
    for index in fs::read_dir(fixture.directory.path().join("indexes")).unwrap() {
        fs::remove_file(index.unwrap().path()).unwrap();
    }
    assert_eq!(fixture.store.disk(&image).unwrap().segments[0].length, first);
    assert_eq!(fs::read_dir(fixture.directory.path().join("indexes")).unwrap().count(), 1);
}

#[test]
fn bad_archives_are_refused_with_the_reason() {
    let fixture = Fixture::new();
    let tar = layer("a");
    let good = docker(&["app"], &[&tar]);
    let (blobs, pointer) = oci_image(&tar, &tar, LAYER);
    let mut swapped = blobs.clone();
    swapped[0].1 = layer("b");
    let unknown = oci_image(&tar, &tar, "application/x-unknown");
    let xz = [b"\xfd7zXZ\0".to_vec(), vec![0; 600]].concat();
    let twice = [&good[..good.len() - 1024], &archive(&[file("manifest.json", b"[]")])].concat();
    let digest = Digest::of(&tar);
    for (bytes, words) in [
        (Vec::new(), "the archive is empty"),
        (b"text\n".repeat(200), "not a tar archive"),
        (xz, "compressed with xz"),
        (
            good[..good.len() - 1024 - 300].to_vec(),
            "the archive is incomplete: it ends in the middle of member",
        ),
        (archive(&[]), "holds no image"),
        (archive(&[file("manifest.json", b"[]")]), "lists no images"),
        (twice, "occurs twice"),
        (docker(&["app"], &[]), "image app has no layers"),
        (docker(&["App"], &[&tar]), "must be lowercase"),
        (
            oci(swapped, std::slice::from_ref(&pointer)),
            &format!("layer 1 ({digest}): expected digest {digest}, got "),
        ),
        (
            oci(blobs[1..].to_vec(), std::slice::from_ref(&pointer)),
            &format!("layer 1 ({digest}): the archive has no member"),
        ),
        (oci(unknown.0, &[unknown.1]), "unknown media type \"application/x-unknown\""),
        (oci(blobs, &[descriptor_of("application/x-other", b"")]), "unknown media type"),
    ] {
        let error = fixture.refused(&bytes);
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn one_bad_image_keeps_the_good_ones_of_its_archive_out() {
    let fixture = Fixture::new();
    let (good, bad) = (layer("good"), layer("bad"));
    let (mut blobs, first) = oci_image(&good, &good, LAYER);
    let (more, second) = oci_image(&bad, &good, LAYER);
    blobs.extend(more.into_iter().skip(1));
    let error = fixture.refused(&oci(blobs, &[first, second]));
    assert!(error.contains("layer 1") && error.contains("expected diff_id"), "{error}");
}

#[test]
fn an_archive_gives_no_more_names_than_it_may() {
    let fixture = Fixture::new();
    let tar = layer("a");
    let tags = |count: usize| -> Vec<String> { (0..count).map(|i| format!("app:{i}")).collect() };
    let load =
        |tags: &[String], tar: &[u8]| docker(&tags.iter().map(String::as_str).collect::<Vec<_>>(), &[tar]);
    let error = fixture.refused(&load(&tags(MAX_NAMES + 1), &tar));
    assert!(error.contains("names that the archive gives its images, 1025, are more than 1024"), "{error}");
    let all = tags(MAX_NAMES);
    let first = fixture.load(&load(&all, &tar)).unwrap().remove(0);
    // All of them go to another image, which may name one twice.
    let mut twice = all.clone();
    twice[1] = twice[0].clone();
    let second = fixture.load(&load(&twice, &layer("b"))).unwrap().remove(0);
    assert_eq!(second.replaced.len(), MAX_NAMES - 1);
    let names = |id: ImageId| fixture.store.resolve(&id.to_string()).unwrap().references;
    assert_eq!((names(first.id).len(), names(second.id).len()), (1, MAX_NAMES - 1));
    let third = fixture.load(&load(&all, &layer("c"))).unwrap().remove(0);
    assert_eq!((names(first.id).len(), names(second.id).len(), names(third.id).len()), (0, 0, MAX_NAMES));
    assert_eq!(fixture.store.layout.read_index().unwrap().len(), MAX_NAMES + 2);
}

#[test]
fn a_list_of_images_that_could_not_be_read_again_is_not_written() {
    let fixture = Fixture::new();
    let tar = layer("a");
    fixture.load(&docker(&["app"], &[&tar])).unwrap();
    let entry = fixture.store.layout.read_index().unwrap().remove(0);
    let long = "x".repeat(200);
    let name = |i: usize| Some(format!("{long}:{i:06}{}", "y".repeat(120)).parse().unwrap());
    let full = |count: usize| -> Vec<Entry> {
        (0..count).map(|i| Entry { reference: name(i), ..entry.clone() }).collect()
    };
    let length = |count: usize| fixture.store.layout.encode_index(&full(count)).unwrap().len();
    let most = usize::try_from(record::MAX_RECORD).unwrap() / (length(2) - length(1)) - 10;
    fixture.store.layout.write_index(&full(most)).unwrap();
    let path = fixture.directory.path().join("images/index.json");
    let before = fs::read(&path).unwrap();
    let names: Vec<String> = (0..MAX_NAMES).map(|i| format!("{long}:new{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = fixture.refused(&docker(&names, &[&layer("b")]));
    assert!(error.contains("has no place for more names") && error.contains("moat rmi"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fixture.store.list().unwrap().len(), 1);
}

/// Pulls an image of one layer, which the registry has as `stored`.
fn pull(fixture: &Fixture, name: &str, tar: &[u8], stored: &[u8]) -> Digest {
    let config = config(&[tar]);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor_of(CONFIG, &config),
        "layers": [descriptor_of(LAYER, stored)],
    }));
    let (manifest, digest) = (manifest.unwrap(), Digest::of(stored));
    let what = "layer 1".to_owned();
    let wanted = WantedLayer { what, digest, size: stored.len() as u64, diff_id: Digest::of(tar) };
    let incoming = fixture.store.incoming(name, std::slice::from_ref(&wanted)).unwrap();
    let rest = stored.to_vec();
    let mut fetch = |offset: u64| -> std::io::Result<Box<dyn Read>> {
        Ok(Box::new(std::io::Cursor::new(rest[usize::try_from(offset).unwrap()..].to_vec())))
    };
    let layer = incoming.layer(&wanted, &mut fetch, &|_| ()).unwrap();
    let digest = Digest::of(&manifest);
    let references = [name.parse().unwrap()];
    let pulled = Pulled {
        references: &references,
        digest,
        manifest: &manifest,
        config: &config,
        layers: vec![&layer],
    };
    incoming.finish(&pulled).unwrap();
    assert_eq!(fs::read_dir(fixture.store.partial()).unwrap().count(), 0);
    digest
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

/// Reads an archive that is saved while its image goes.
struct Remover<'a> {
    fixture: &'a Fixture,
    archive: Vec<u8>,
}

impl Write for Remover<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.archive.is_empty() {
            self.fixture.remove("app");
        }
        self.archive.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_saved_may_be_removed_meanwhile() {
    let fixture = Fixture::new();
    let empty = fixture.files();
    // More than the buffer before the archive.
    let tar = layer(&"content".repeat(10_000));
    fixture.load(&docker(&["app"], &[&tar])).unwrap();
    let mut sink = Remover { fixture: &fixture, archive: Vec::new() };
    fixture.store.save(&["app".to_owned()], &mut sink).unwrap();
    let archive = sink.archive;
    assert_eq!(fixture.files(), empty);
    fixture.load(&archive).unwrap();
    fixture.store.disk(&fixture.store.resolve("app").unwrap()).unwrap();
}

#[test]
fn a_repository_is_saved_with_all_of_its_tags() {
    let (from, to) = (Fixture::new(), Fixture::new());
    from.load(&docker(&["app:1", "app:2", "other:1"], &[&layer("a")])).unwrap();
    from.load(&docker(&["app:3"], &[&layer("b")])).unwrap();
    let saved = |wanted: &[&str]| {
        let mut archive = Vec::new();
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        from.store.save(&wanted, &mut archive).unwrap();
        let mut names: Vec<String> = Vec::new();
        for image in to.load(&archive).unwrap() {
            names.extend(image.references.iter().map(Reference::familiar));
        }
        names.sort();
        names
    };
    assert_eq!(saved(&["app"]), ["app:1", "app:2", "app:3"]);
    assert_eq!(saved(&["app:3", "app", "other:1"]), ["app:1", "app:2", "app:3", "other:1"]);
    assert_eq!(saved(&["app:2"]), ["app:2"]);
    let error = from.store.save(&["nothing".to_owned()], &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "No such image: nothing:latest");
}

#[test]
fn what_images_share_counts_once_for_any_of_them() {
    let fixture = Fixture::new();
    let (shared, own) = (layer(&"shared".repeat(100_000)), layer(&"own".repeat(10_000)));
    let ids: Vec<ImageId> = [vec![&shared[..], &own], vec![&shared], vec![&own]]
        .iter()
        .enumerate()
        .map(|(i, layers)| fixture.load(&docker(&[&format!("app:{i}")], layers)).unwrap()[0].id)
        .collect();
    let usage = fixture.store.usage().unwrap();
    assert_eq!(usage.together(&ids), usage.total);
    assert_eq!(usage.together(&ids[..2]), usage.total - usage.images[&ids[2]].unique);
    assert_eq!(usage.together([]), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn cut_off_and_changed_archives_never_panic_and_leave_nothing(
        form in 0..4_usize,
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 0..3),
    ) {
        let fixture = Fixture::new();
        let tar = layer("content");
        let (blobs, pointer) = oci_image(&tar, &gzip(&tar), LAYER);
        let mut bytes = match form {
            0 => docker(&["app"], &[&tar]),
            1 => gzip(&docker(&["app"], &[&tar])),
            2 => zstd(&docker(&["app"], &[&tar])),
            _ => oci(blobs, &[pointer]),
        };
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate(cut.index(2 * bytes.len()));
        let before = fixture.files();
        match fixture.load(&bytes) {
            Ok(loaded) => for image in loaded {
                let image = fixture.store.resolve(&image.id.to_string()).unwrap();
                prop_assert_eq!(image.layers[0].diff_id, Digest::of(&tar));
            },
            Err(_) => prop_assert_eq!(fixture.files(), before),
        }
        prop_assert_eq!(fs::read_dir(fixture.store.staging()).unwrap().count(), 0);
    }
}
