use std::io::Write;
use std::path::PathBuf;

use jiff::Timestamp;
use moat_protocol::tar::{Entry, Kind, Writer};
use serde_json::{Map, json};

use super::*;
use crate::config::{self, Step};
use crate::store::ImageUser;
use moat_records::root::Root;

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

    fn add(&self, base: Option<&str>, tar: &[u8], name: Option<&str>) -> Result<Loaded, StoreError> {
        let base = base.map(|name| self.store.resolve(name).unwrap());
        let layer = self.store.stage_archive(tar)?;
        let below = base.as_ref().map_or_else(config::empty, |image| image.document.clone());
        let config = below["config"].as_object().cloned().unwrap_or_default();
        let document = config::with_layer(below, config, &layer.digest(), &step());
        let names: Vec<Reference> = name.iter().map(|name| name.parse().unwrap()).collect();
        self.store.add_image(base.as_ref(), layer, &document, &names)
    }

    /// Every file under the root.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut todo = vec![self.directory.path().to_owned()];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path.clone());
                }
                files.push(path);
            }
        }
        files.sort();
        files
    }
}

fn step() -> Step {
    Step {
        created: Timestamp::from_second(1_700_000_000).unwrap(),
        created_by: "sh".to_owned(),
        author: "me".to_owned(),
        comment: String::new(),
    }
}

fn tar(entries: &[(Kind, &str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (kind, path, content) in entries {
        let mut entry =
            Entry { kind: *kind, path: path.as_bytes().to_vec(), mode: 0o755, ..Entry::default() };
        match kind {
            Kind::File => entry.size = content.len() as u64,
            _ => entry.link = content.as_bytes().to_vec(),
        }
        let mut contents = if *kind == Kind::File { content.as_bytes() } else { b"" };
        writer.append(&entry, &mut contents).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn layers_make_images() {
    let fixture = Fixture::new();
    let first = tar(&[(Kind::Directory, "etc/", ""), (Kind::File, "etc/a", "content")]);
    let base = fixture.add(None, &first, Some("localhost/base")).unwrap();
    let second = tar(&[(Kind::File, "etc/.wh.a", ""), (Kind::File, "etc/b", "more")]);
    let top = fixture.add(Some("localhost/base"), &second, Some("localhost/top:1")).unwrap();
    assert_ne!(base.id, top.id);
    let image = fixture.store.resolve("localhost/top:1").unwrap();
    let digests: Vec<_> = image.layers.iter().map(|layer| layer.diff_id).collect();
    assert_eq!(digests, [Digest::of(&first), Digest::of(&second)]);
    assert_eq!(image.document["history"].as_array().unwrap().len(), 2);
    assert_eq!(image.config.author().as_deref(), Some("me"));
    // The index and two layers.
    assert_eq!(fixture.store.disk(&image).unwrap().segments.len(), 3);

    // The same again is the same image; another takes its name away.
    assert_eq!(fixture.add(Some("localhost/base"), &second, Some("localhost/top:1")).unwrap().id, top.id);
    let other = fixture.add(Some("localhost/base"), &first, Some("localhost/top:1")).unwrap();
    assert_eq!(other.replaced.len(), 1);
    assert_eq!(fixture.store.list().unwrap().len(), 3);
}

#[test]
fn nothing_changed_is_a_layer_too() {
    let fixture = Fixture::new();
    fixture.add(None, &tar(&[(Kind::File, "a", "x")]), Some("localhost/base")).unwrap();
    let empty = fixture.add(Some("localhost/base"), &tar(&[]), None).unwrap();
    let image = fixture.store.resolve(&empty.id.to_string()).unwrap();
    assert_eq!((image.layers.len(), image.layers[1].size), (2, 1024));
    fixture.store.disk(&image).unwrap();
}

#[test]
fn archives_may_be_compressed() {
    let fixture = Fixture::new();
    let plain = tar(&[(Kind::File, "a", "x")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(fixture.store.stage_archive(gzip.as_slice()).unwrap().digest(), Digest::of(&plain));
    // What a guest sends is taken as it is.
    assert_eq!(fixture.store.stage_layer(gzip.as_slice()).unwrap().digest(), Digest::of(&gzip));
    let error = fixture.store.stage_archive(&gzip[..gzip.len() - 9]).err().unwrap().to_string();
    assert!(error.contains("damaged or incomplete"), "{error}");
}

#[test]
fn layers_that_no_image_could_have_are_refused_and_leave_nothing() {
    let fixture = Fixture::new();
    fixture.add(None, &tar(&[(Kind::Directory, "d", "")]), Some("localhost/base")).unwrap();
    let good = tar(&[(Kind::File, "a", "content")]);
    let mut damaged = good.clone();
    damaged[200] ^= 1;
    for (bad, word) in [
        (b"no tar at all, but long enough for a header".repeat(20), "checksum"),
        (damaged, "checksum"),
        (good[..515].to_vec(), "truncated"),
        (tar(&[(Kind::File, "../x", "")]), "climbs"),
        (tar(&[(Kind::HardLink, "h", "nothing")]), "does not exist"),
        (tar(&[(Kind::HardLink, "h", "d")]), "directory"),
        (tar(&[(Kind::File, "d/../..", "")]), "climbs"),
        (tar(&[(Kind::Symlink, "s", "")]), "empty"),
    ] {
        let before = fixture.files();
        let error = fixture.add(Some("localhost/base"), &bad, Some("localhost/bad")).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
        assert_eq!(fixture.files(), before, "{error}");
    }
}

#[test]
fn configs_and_layers_must_agree() {
    let fixture = Fixture::new();
    let bytes = tar(&[(Kind::File, "a", "x")]);
    let layer = fixture.store.stage_layer(bytes.as_slice()).unwrap();
    let wrong = config::with_layer(config::empty(), Map::new(), &Digest::of(b"other"), &step());
    fixture.store.add_image(None, layer, &wrong, &[]).unwrap_err();
    let layer = fixture.store.stage_layer(bytes.as_slice()).unwrap();
    fixture.store.add_image(None, layer, &json!({"no": "config"}), &[]).unwrap_err();
    assert_eq!(fixture.store.list().unwrap().len(), 0);
}

/// A reader that breaks.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn streams_that_break_leave_nothing() {
    let fixture = Fixture::new();
    let before = fixture.files();
    let error = fixture.store.stage_layer((&[0; 5000][..]).chain(Broken)).err().unwrap();
    assert!(matches!(error, StoreError::Load(LoadError::Read(_))), "{error}");
    assert_eq!(fixture.files(), before);
}

#[test]
fn names_are_given_and_images_saved() {
    let fixture = Fixture::new();
    let id = fixture.add(None, &tar(&[(Kind::File, "a", "x")]), Some("localhost/one")).unwrap().id;
    let other = fixture.add(Some("localhost/one"), &tar(&[(Kind::File, "b", "y")]), Some("two")).unwrap().id;
    let store = &fixture.store;
    assert_eq!(store.tag("localhost/one", &"localhost/three:3".parse().unwrap()).unwrap(), []);
    assert_eq!(store.resolve("localhost/three:3").unwrap().id, id);
    let replaced = store.tag(&id.short(), &"two".parse().unwrap()).unwrap();
    assert_eq!(replaced.iter().map(|replaced| replaced.id).collect::<Vec<_>>(), [other]);
    assert_eq!(store.resolve("two").unwrap().references.len(), 3);
    store.tag("nothing", &"x".parse().unwrap()).unwrap_err();

    let mut archive = Vec::new();
    let wanted = ["localhost/one".to_owned(), "two".to_owned(), other.to_string()];
    store.save(&wanted, &mut archive).unwrap();
    let there = Fixture::new();
    let mut loaded = there.store.load(archive.as_slice(), |_| ()).unwrap();
    loaded.sort_by_key(|image| image.references.len());
    let [second, first] = loaded.as_slice() else { panic!("{loaded:?}") };
    assert_eq!((first.id, second.id), (id, other));
    let names: Vec<_> = first.references.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["localhost/one:latest", "two:latest"]);
    assert_eq!(second.references, []);
    store.save(&["nothing".to_owned()], &mut Vec::new()).unwrap_err();
    store.remove::<StoreError>("two", false, |_| Ok(Vec::<ImageUser>::new())).unwrap();
}
