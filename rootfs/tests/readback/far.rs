//! Data behind the fourth gigabyte of the disk, where block numbers times 512 need more than 32 bits.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use crate::support::proof::prove_files;
use crate::support::{Fields, Layer};

const FAR: u64 = (4 << 30) + 512;

/// Layers with a hole in place of a large file's data.
#[test]
fn behind_four_gigabytes() {
    let large = Fields { name: b"large", size: FAR, ..Fields::default() };
    let mut first = tempfile::tempfile().unwrap();
    first
        .write_all(
            &Layer::new()
                .file("near", b"near")
                .pax(&[("size", FAR.to_string().as_bytes())])
                .header(&large)
                .open(),
        )
        .unwrap();
    first.seek(SeekFrom::Current(FAR.cast_signed())).unwrap();
    let map: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"0,512,4096,10"), ("GNU.sparse.size", b"9000")];
    let far = Layer::new()
        .file("far", &[b'f'; 5000])
        .long(&Fields { name: b"far-sparse", ..Fields::default() }, &map, &[b's'; 522])
        .end();
    first.write_all(&far).unwrap();
    let mut second = tempfile::tempfile().unwrap();
    second
        .write_all(&Layer::new().file("farther", b"farther").dir("d").symlink("d/link", "../far").end())
        .unwrap();
    let mut layers: [File; 2] = [first, second];
    assert_eq!(prove_files(&mut layers), 8);
}
