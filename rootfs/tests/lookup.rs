//! Every name that a directory lists can be opened, in a kernel mount.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::fs;

use support::Layer;
use support::mounted::{Mounted, can_mount};

/// Content of 544 bytes: more than a block, and its end is where the next inode starts.
#[test]
fn the_last_name_is_found() {
    if !can_mount() {
        return;
    }
    let mut layer = Layer::new().dir("d").dir("d/a");
    for number in 0..21 {
        layer = layer.file(&format!("d/file{number:06}"), b"x");
    }
    let layer = layer.file(&format!("d/{}", "z".repeat(20)), b"x");
    let disk = Mounted::of(&[layer.end()]);
    for entry in fs::read_dir(disk.root.join("d")).unwrap() {
        let path = entry.unwrap().path();
        path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
