//! What is fuzzed: functions that any bytes may be given to. `tests/fuzz.rs` runs the same on the corpus, and on what a
//! fixed sequence of changes makes of it.

use std::io::Cursor;

/// A layer's tar to an index: any bytes end in one or in an error, the same each time.
pub fn layer_index(bytes: &[u8]) {
    let index = || moat_rootfs::build_index(&mut [Cursor::new(bytes)]).map(|index| index.bytes().to_vec());
    match (index(), index()) {
        (Ok(first), Ok(second)) => assert!(first == second, "two indexes of one layer"),
        (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
        _ => panic!("an index and an error of one layer"),
    }
}

/// An image's config: as many diff_ids as layers, or an error that is no longer than a page.
pub fn image_config(bytes: &[u8]) {
    for layers in 0..3 {
        match moat::store::diff_ids(bytes, "image", layers) {
            Ok(found) => assert_eq!(found.len(), layers),
            Err(e) => assert!(e.to_string().len() < 4096, "{e}"),
        }
    }
}

/// A name of an image: what is one is the same when it is written and read again.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(reference) = text.parse::<moat::store::Reference>() else { return };
    for again in [reference.to_string(), reference.familiar()] {
        assert_eq!(again.parse().ok(), Some(reference.clone()), "{again:?}");
    }
}
