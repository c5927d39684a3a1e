//! What the writer makes, shape by shape, is what a reader finds: the library's own, the kernel, and `fsck.erofs`.
//!
//! Listing a directory proves little: here every name is looked up, every attribute is asked for by its name, every link
//! is read, and all content is compared.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod attributes;

mod damage;
mod data;
mod directories;
mod far;
mod random;
#[path = "../support/mod.rs"]
mod support;

use support::{Fields, Layer};

/// Whether this is the tier of the long stories.
fn is_long() -> bool {
    std::env::var("MOAT_TEST_TIER").is_ok_and(|tier| tier == "all")
}

/// The time that most files have, so that their inodes are compact.
const USUAL: u64 = 1_700_000_000;

/// What stands behind a directory's content: its first child's inode, if that has not been written before.
#[derive(Debug, Clone, Copy)]
enum Neighbour {
    Compact,
    Extended,
    WithAttributes,
    Symlink,
    Directory,
    Sparse,
    Device,
    /// All children are names of files that stand elsewhere: the next directory's content follows, or the end.
    Nothing,
}

impl Neighbour {
    const ALL: [Self; 8] = [
        Self::Compact,
        Self::Extended,
        Self::WithAttributes,
        Self::Symlink,
        Self::Directory,
        Self::Sparse,
        Self::Device,
        Self::Nothing,
    ];

    /// Adds a child of this kind. A file `0` has to be in the root.
    fn add(self, layer: Layer, path: &[u8]) -> Layer {
        let fields = |kind| Fields { kind, name: path, mtime: USUAL, ..Fields::default() };
        match self {
            Self::Compact => layer.long(&fields(b'0'), &[], b"x"),
            Self::Extended => layer.long(&Fields { mtime: USUAL + 1, ..fields(b'0') }, &[], b"x"),
            Self::WithAttributes => layer.long(&fields(b'0'), &[("SCHILY.xattr.user.k", b"value")], b"x"),
            Self::Symlink => layer.long(&Fields { link: b"target", ..fields(b'2') }, &[], b""),
            Self::Directory => layer.long(&fields(b'5'), &[], b""),
            Self::Sparse => {
                let map: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"512,3"), ("GNU.sparse.size", b"2000")];
                layer.long(&fields(b'0'), &map, b"abc")
            }
            Self::Device => layer.long(&Fields { device: (8, 300), ..fields(b'4') }, &[], b""),
            Self::Nothing => layer.long(&Fields { link: b"0", ..fields(b'1') }, &[], b""),
        }
    }
}
