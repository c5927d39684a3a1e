//! For the packages that have records: their formats, read and refused.

use std::path::Path;

use moat_records::format::Record;
use moat_records::record::{self, RecordError};

/// The records of `kind` that lie in `directory`, in every format up to this release's.
pub fn read_every_format<T: Record>(directory: &str, kind: &str) -> Vec<T> {
    let directory = Path::new(directory);
    let read = |format| record::read(&directory.join(format!("{kind}.{format}.json"))).expect("a record");
    (0..=T::FORMAT).map(read).collect()
}

/// Asserts that `record` in the next format, with a field more, is refused as newer.
pub fn refuse_the_next_format<T: Record + std::fmt::Debug>(record: &T) {
    let temporary = tempfile::tempdir().expect("a directory");
    let path = temporary.path().join("record");
    let mut document = serde_json::to_value(record).expect("JSON");
    document["format"] = (T::FORMAT + 1).into();
    document["what_the_next_release_adds"] = true.into();
    std::fs::write(&path, document.to_string()).expect("a file");
    let error = record::read::<T>(&path).expect_err("a newer record");
    assert!(matches!(error, RecordError::Newer { .. }), "{error}");
}
