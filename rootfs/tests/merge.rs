//! How layers become one tree.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use std::io::{self, Read, Seek, SeekFrom};

use moat_rootfs::{Error, Problem, Tree};
use support::{Layer, dump, merge, paths, problem};

/// A layer of one entry again and again.
struct Endless {
    entry: Vec<u8>,
    position: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.position as usize % self.entry.len();
        let length = buffer.len().min(self.entry.len() - at);
        buffer[..length].copy_from_slice(&self.entry[at..at + length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::Current(by) => self.position.saturating_add_signed(by),
            SeekFrom::End(_) => self.entry.len() as u64 * 1_000_000,
        };
        Ok(self.position)
    }
}

fn lower() -> Layer {
    Layer::new().dir("d").file("d/a", b"a").dir("d/sub").file("d/sub/b", b"b").file("f", b"f")
}

#[test]
fn the_dump_shows_everything() {
    let layer = Layer::new()
        .dir("./")
        .file("bin/sh", b"#!")
        .hardlink("bin/dash", "bin/sh")
        .symlink("sh", "bin/a b")
        .device("null", 1, 3)
        .pax(&[("mtime", b"-1.5"), ("uid", b"4294967294"), ("SCHILY.xattr.user.k", b"v=\n")])
        .file("x\u{e9}", b"");
    let expected = "\
/ d0755 0:0 0 1700000000.000000000 3 -
/bin d0755 0:0 0 0.000000000 2 -
/null c0644 0:0 0 1700000000.000000000 1 1:3
/sh l0777 0:0 7 1700000000.000000000 1 bin/a\\x20b
/x\\xc3\\xa9 -0644 4294967294:0 0 -2.500000000 1 - user.k=v\\x3d\\x0a
/bin/dash -0644 0:0 2 1700000000.000000000 2 1@1024
/bin/sh -0644 0:0 2 1700000000.000000000 2 1@1024
";
    assert_eq!(dump(&[layer.end()]), expected);
}

#[test]
fn whiteouts_speak_of_lower_layers_only() {
    let over = |upper: Layer| paths(&[lower().end(), upper.end()]);
    assert_eq!(over(Layer::new().file(".wh.d", b"")), "/f");
    assert_eq!(over(Layer::new().file("d/.wh.a", b"").file("d/.wh.nothing", b"")), "/d /f /d/sub /d/sub/b");
    assert_eq!(over(Layer::new().file(".wh.f", b"").file("f", b"new")), "/d /f /d/a /d/sub /d/sub/b");
    assert_eq!(over(Layer::new().file("f", b"new").file(".wh.f", b"")), "/d /f /d/a /d/sub /d/sub/b");
    assert_eq!(over(Layer::new().file("d/sub/new", b"").file(".wh.d", b"")), "/d /f /d/sub /d/sub/new");
    assert_eq!(over(Layer::new().file(".wh.d", b"").file("d/sub/new", b"")), "/d /f /d/sub /d/sub/new");
    assert_eq!(over(Layer::new().file("none/.wh.x", b"")), "/d /f /d/a /d/sub /d/sub/b");
    assert_eq!(over(Layer::new().file("d/.wh..wh.plnk", b"")), "/d /f /d/a /d/sub /d/sub/b");
}

#[test]
fn opaque_markers_speak_of_lower_layers_only() {
    let over = |upper: Layer| paths(&[lower().end(), upper.end()]);
    assert_eq!(over(Layer::new().file("d/.wh..wh..opq", b"")), "/d /f");
    assert_eq!(over(Layer::new().file("d/.wh..wh..opq", b"").file("d/new", b"")), "/d /f /d/new");
    assert_eq!(over(Layer::new().file("d/new", b"").file("d/.wh..wh..opq", b"")), "/d /f /d/new");
    assert_eq!(over(Layer::new().file("d/sub/c", b"").file("d/.wh..wh..opq", b"")), "/d /f /d/sub /d/sub/c");
    assert_eq!(over(Layer::new().file(".wh..wh..opq", b"")), "");
    // The marker does not outlive its layer.
    let third = Layer::new().file("d/.wh..wh..opq", b"").end();
    assert_eq!(paths(&[third, lower().end()]), "/d /f /d/a /d/sub /d/sub/b");
}

#[test]
fn types_replace_each_other() {
    let over = |upper: Layer| paths(&[lower().end(), upper.end()]);
    assert_eq!(over(Layer::new().file("d", b"")), "/d /f");
    assert_eq!(over(Layer::new().symlink("d", "f")), "/d /f");
    assert_eq!(over(Layer::new().dir("f").file("f/x", b"")), "/d /f /d/a /d/sub /d/sub/b /f/x");
    let twice = Layer::new().file("d", b"").dir("d").file("d/new", b"");
    assert_eq!(over(twice), "/d /f /d/new");
    assert_eq!(over(Layer::new().dir("d")), "/d /f /d/a /d/sub /d/sub/b");
}

#[test]
fn hard_links_share_a_file() {
    let upper = Layer::new().hardlink("g", "f").file("f", b"own").hardlink("h", "./g");
    let text = dump(&[lower().end(), upper.end()]);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("/f ").contains(" 3 1700000000.000000000 1 2@1024"), "{text}");
    assert!(line("/g ").ends_with(" 2 1@3584"), "{text}");
    assert!(line("/h ").ends_with(" 2 1@3584"), "{text}");
    let over = |upper: Layer| problem(&[lower().end(), upper.end()]);
    assert_eq!(over(Layer::new().hardlink("x", "none")), Problem::LinkTarget("none".into()));
    assert_eq!(over(Layer::new().hardlink("f", "f")), Problem::LinkTarget("f".into()));
    assert_eq!(over(Layer::new().hardlink("x", "d")), Problem::LinkToDirectory("d".into()));
    assert_eq!(over(Layer::new().hardlink("x", "../f")), Problem::Climbs("hard link's target"));
}

#[test]
fn symbolic_links_are_followed_inside_the_image() {
    let below = |target: &str, entry: &str| {
        let links = Layer::new().dir("host").dir("usr").symlink("usr/l", target);
        paths(&[links.end(), Layer::new().file(entry, b"").end()])
    };
    for target in ["/host", "../host", "../../../host", "/../host", "//host/.", "/none/../host"] {
        assert_eq!(below(target, "usr/l/x"), "/host /usr /host/x /usr/l", "{target}");
    }
    assert_eq!(below("/new/dir", "usr/l/x"), "/host /new /usr /new/dir /new/dir/x /usr/l");
    assert_eq!(below("/host", "usr/l"), "/host /usr /usr/l");
    assert_eq!(below(".", "usr/l/x"), "/host /usr /usr/l /usr/x");
    let whiteout = Layer::new().file("host/x", b"").symlink("l", "host").end();
    assert_eq!(paths(&[whiteout, Layer::new().file("l/.wh.x", b"").end()]), "/host /l");
}

#[test]
fn paths_that_lead_nowhere_are_refused() {
    let mut chain = Layer::new();
    for link in 0..41 {
        chain = chain.symlink(&format!("l{link}"), &format!("l{}", link + 1));
    }
    let limit =
        |problem| matches!(problem, Problem::Limit { what: "the number of symbolic links on the path", .. });
    assert!(limit(problem(&[chain.file("l0/x", b"").end()])));
    assert!(limit(problem(&[Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", b"").end()])));
    let deep = "a/".repeat(1500);
    assert!(matches!(
        problem(&[Layer::new().pax(&[("path", deep.as_bytes())]).dir("x").end()]),
        Problem::Limit { .. }
    ));
    for (entry, expected) in [
        ("../x", Problem::Climbs("name")),
        ("a/../../x", Problem::Climbs("name")),
        ("", Problem::NoName),
        (".", Problem::Root),
        ("f/x", Problem::NotADirectory("f".into())),
        ("d/.wh.", Problem::Whiteout),
        (".wh..", Problem::Whiteout),
        ("d/.wh...", Problem::Whiteout),
    ] {
        assert_eq!(problem(&[lower().end(), Layer::new().file(entry, b"").end()]), expected, "{entry}");
    }
}

#[test]
fn attributes_count_for_each_file_that_shares_them() {
    let entry = Layer::new().pax(&[("SCHILY.xattr.user.k", &[0; 65_000])]).file("x", b"").open();
    let Err(Error::Entry { problem, .. }) = Tree::from_layers(&mut [Endless { entry, position: 0 }]) else {
        panic!("this is endless");
    };
    assert!(matches!(problem, Problem::Limit { what: "the length of all names and attributes", .. }));
}

#[test]
fn the_parent_of_the_last_entry_is_not_trusted_too_long() {
    let upper = Layer::new()
        .file("d/sub/x", b"")
        .file("d/sub/../sub", b"")
        .symlink("d/sub", "/")
        .file("d/sub/y", b"");
    assert_eq!(paths(&[lower().end(), upper.end()]), "/d /f /y /d/a /d/sub");
    // The text before the last slash would be `a/b` here, but the entry is in the root.
    let climbing = Layer::new().dir("a/b").file("f/b/..", b"").file("f/b/c", b"");
    assert_eq!(problem(&[climbing.end()]), Problem::NotADirectory("f".into()));
}

#[test]
fn devices_of_overlayfs_are_just_devices() {
    assert!(
        dump(&[lower().end(), Layer::new().device("f", 0, 0).end()])
            .contains("/f c0644 0:0 0 1700000000.000000000 1 0:0")
    );
}

#[test]
fn errors_name_layer_and_entry() {
    let error = merge(&[lower().end(), Layer::new().file("f/x", b"").end()]).unwrap_err();
    assert_eq!(error.to_string(), "layer 2, entry \"f/x\": \"f\" on its path is not a directory");
}
