//! What is fuzzed: functions that any bytes may be given to. `tests/fuzz.rs` runs the same on the corpus, and on what a
//! fixed sequence of changes makes of it.

use std::io::Cursor;

use moat_rootfs::{FileType, IndexReader};

/// A layer's tar to an index: any bytes end in one that is sound or in an error, the same each time.
pub fn layer_index(bytes: &[u8]) {
    let index = || moat_rootfs::build_index(&mut [Cursor::new(bytes)]).map(|index| index.bytes().to_vec());
    match (index(), index()) {
        (Ok(first), Ok(second)) => {
            assert!(first == second, "two indexes of one layer");
            let verified = IndexReader::open(&first).and_then(|index| index.verify());
            assert_eq!(verified, Ok(()), "what the writer makes is sound");
        }
        (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
        _ => panic!("an index and an error of one layer"),
    }
}

/// An index that is read: any bytes are sound or not, and what is sound can be read whole, each name by a lookup.
pub fn read_index(bytes: &[u8]) {
    let Ok(index) = IndexReader::open(bytes) else { return };
    let is_sound = index.verify().is_ok();
    // Directories are not followed where they may lead round in a circle.
    let mut todo = vec![index.root()];
    let mut found = 0;
    while let Some(node) = todo.pop() {
        let Ok(node) = node else { continue };
        found += 1;
        let entries = node.entries().take(bytes.len());
        for entry in entries.filter_map(Result::ok) {
            let is_found = node.lookup(entry.name).is_ok_and(|found| found == Some(entry));
            assert!(is_found || !is_sound, "listed and not found");
            if is_sound && !matches!(entry.name, b"." | b"..") {
                todo.push(index.node(entry.inode));
            }
        }
        let read = node.xattrs().take(bytes.len()).all(|xattr| xattr.is_ok())
            && node.extents().take(bytes.len()).all(|extent| extent.is_ok())
            && (node.file_type() != FileType::Symlink || node.target().is_ok());
        assert!(read || !is_sound, "sound and not readable");
    }
    assert!(found >= index.inodes() || !is_sound, "fewer files than inodes");
}

/// An image's config: as many diff_ids as layers, or an error that is no longer than a page.
pub fn image_config(bytes: &[u8]) {
    for layers in 0..3 {
        match moat_images::store::diff_ids(bytes, "image", layers) {
            Ok(found) => assert_eq!(found.len(), layers),
            Err(e) => assert!(e.to_string().len() < 4096, "{e}"),
        }
    }
}

/// A name of an image: what is one is the same when it is written and read again.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(reference) = text.parse::<moat_images::store::Reference>() else { return };
    for again in [reference.to_string(), reference.familiar()] {
        assert_eq!(again.parse().ok(), Some(reference.clone()), "{again:?}");
    }
}
