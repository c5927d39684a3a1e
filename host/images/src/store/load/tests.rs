//! Archives made here, good and bad. Those of other people's tools are in the integration tests.

use std::fs;

use proptest::prelude::*;
use serde_json::json;
use tar::EntryType;

use super::*;
use crate::store::limits::MAX_NAMES;
use crate::store::tests::fixture::*;

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
    assert_eq!(fixture.entries(), MAX_NAMES + 2);
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
