//! The store as a whole, through what it offers to the rest of Moat.

mod crash;
pub(super) mod fixture;
mod formats;
mod many;
mod names;
mod remove;
mod save;

use std::fs;

use moat_records::root::Root;

pub(super) use self::crash::step;
use self::fixture::*;
use super::{Digest, ImageId, ImageStore};

#[test]
fn what_a_killed_load_left_is_removed_when_the_store_is_opened() {
    let fixture = Fixture::new();
    fixture.load(&docker(&["app"], &[&layer("a")])).unwrap();
    let before = fixture.files();
    let staging = fixture.store.staging().join("0123456789abcdef");
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("0"), "half a layer").unwrap();
    fs::write(fixture.store.layout.blob(&Digest::of(b"moved in already")), "moved in already").unwrap();
    fs::write(fixture.directory.join("images/index.1.tmp"), "{").unwrap();
    let store = ImageStore::open(&Root::open(&fixture.directory).unwrap()).unwrap();
    assert_eq!(fixture.files(), before);
    store.disk(&store.resolve("app").unwrap()).unwrap();
}

#[test]
fn a_lost_index_is_made_again() {
    let fixture = Fixture::new();
    fixture.load(&docker(&["app"], &[&layer("a")])).unwrap();
    let image = fixture.store.resolve("app").unwrap();
    let first = fixture.store.disk(&image).unwrap().segments[0].length;
    for index in fs::read_dir(fixture.directory.join("indexes")).unwrap() {
        fs::remove_file(index.unwrap().path()).unwrap();
    }
    assert_eq!(fixture.store.disk(&image).unwrap().segments[0].length, first);
    assert_eq!(fs::read_dir(fixture.directory.join("indexes")).unwrap().count(), 1);
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
