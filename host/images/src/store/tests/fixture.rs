//! A store of its own for each test, and archives for it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use moat_records::root::Root;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::store::{Digest, ImageStore, Loaded, Pulled, Removed, StoreError, WantedLayer};

pub(in crate::store) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(in crate::store) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(in crate::store) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(in crate::store) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(in crate::store) struct Fixture {
    pub(in crate::store) directory: PathBuf,
    pub(in crate::store) store: ImageStore,
    /// Removes the directory in the end.
    _temporary: Option<tempfile::TempDir>,
}

impl Fixture {
    pub(in crate::store) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let fixture = Self::at(temporary.path());
        Self { _temporary: Some(temporary), ..fixture }
    }

    /// The store at `root`, which outlives this.
    pub(in crate::store) fn at(root: &Path) -> Self {
        let store = ImageStore::open(&Root::open(root).unwrap()).unwrap();
        Self { directory: root.to_owned(), store, _temporary: None }
    }

    pub(in crate::store) fn load(&self, archive: &[u8]) -> Result<Vec<Loaded>, StoreError> {
        self.store.load(archive, |_| ())
    }

    /// The error of loading it, after making sure that nothing is left.
    pub(in crate::store) fn refused(&self, archive: &[u8]) -> String {
        let before = self.files();
        let error = self.load(archive).unwrap_err().to_string();
        assert_eq!(self.files(), before, "{error}");
        error
    }

    /// Every file under the root.
    pub(in crate::store) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.directory.clone()];
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

    /// How many names there are, and images without one.
    pub(in crate::store) fn entries(&self) -> usize {
        let layout = &self.store.layout;
        layout.links().unwrap().len() + fs::read_dir(layout.nameless()).unwrap().count()
    }

    pub(in crate::store) fn remove(&self, name: &str) -> Vec<Removed> {
        self.store.remove::<StoreError>(name, false, |_| Ok(Vec::new())).unwrap()
    }
}

pub(in crate::store) fn file(name: &str, content: &[u8]) -> (Header, Vec<u8>) {
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    (header, content.to_vec())
}

pub(in crate::store) fn link(name: &str, kind: EntryType, target: &str) -> (Header, Vec<u8>) {
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_link_name_literal(target).unwrap();
    header.set_size(0);
    header.set_cksum();
    (header, Vec::new())
}

pub(in crate::store) fn archive(members: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (header, content) in members {
        builder.append(header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A layer of one file.
pub(in crate::store) fn layer(content: &str) -> Vec<u8> {
    archive(&[file("file", content.as_bytes())])
}

pub(in crate::store) fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-05-01T00:00:00Z", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    serde_json::to_vec(&config).unwrap()
}

/// A docker archive of one image.
pub(in crate::store) fn docker(tags: &[&str], layers: &[&[u8]]) -> Vec<u8> {
    docker_of(&[(tags, layers)])
}

/// A docker archive of several images: their names and their layers.
pub(in crate::store) fn docker_of(images: &[(&[&str], &[&[u8]])]) -> Vec<u8> {
    let (mut members, mut manifest) = (Vec::new(), Vec::new());
    for (number, (tags, layers)) in images.iter().enumerate() {
        let config = config(layers);
        let name = format!("{}.json", Digest::of(&config).hex());
        let paths: Vec<String> = (0..layers.len()).map(|i| format!("{number}/{i}/layer.tar")).collect();
        members.extend(paths.iter().zip(*layers).map(|(path, layer)| file(path, layer)));
        members.push(file(&name, &config));
        manifest.push(json!({"Config": name, "RepoTags": tags, "Layers": paths}));
    }
    members.push(file("manifest.json", &serde_json::to_vec(&manifest).unwrap()));
    archive(&members)
}

pub(in crate::store) fn descriptor_of(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content).to_string(), "size": content.len()})
}

pub(in crate::store) fn blob(content: &[u8]) -> (Header, Vec<u8>) {
    file(&format!("blobs/sha256/{}", Digest::of(content).hex()), content)
}

/// The blobs of an OCI image of one layer, and the descriptor of its manifest.
pub(in crate::store) fn oci_image(
    tar: &[u8],
    stored: &[u8],
    media_type: &str,
) -> (Vec<(Header, Vec<u8>)>, Value) {
    let config = config(&[tar]);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor_of(CONFIG, &config),
        "layers": [descriptor_of(media_type, stored)],
    }));
    let manifest = manifest.unwrap();
    let pointer = descriptor_of(MANIFEST, &manifest);
    (vec![blob(stored), blob(&config), blob(&manifest)], pointer)
}

pub(in crate::store) fn index(manifests: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})).unwrap()
}

pub(in crate::store) fn named(mut descriptor: Value, key: &str, name: &str) -> Value {
    descriptor["annotations"] = json!({key: name});
    descriptor
}

/// An OCI archive with `index.json` first.
pub(in crate::store) fn oci(mut blobs: Vec<(Header, Vec<u8>)>, manifests: &[Value]) -> Vec<u8> {
    blobs.insert(0, file("index.json", &index(manifests)));
    blobs.insert(0, file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#));
    archive(&blobs)
}

pub(in crate::store) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::store) fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 1).unwrap()
}

/// Pulls an image of one layer, which the registry has as `stored`.
pub(in crate::store) fn pull(fixture: &Fixture, name: &str, tar: &[u8], stored: &[u8]) -> Digest {
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

/// The only index of a store.
pub fn only_index(fixture: &Fixture) -> PathBuf {
    let directory = fixture.directory.join("indexes");
    let paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = paths.as_slice() else { panic!("{paths:?}") };
    path.clone()
}
