//! Archives that are saved.

use std::io::Write;

use super::fixture::*;
use crate::store::Reference;

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
