//! Ways to write a tar archive, right and wrong.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use moat_rootfs::Problem;
use support::{Fields, Layer, dump, merge, paths, pax_records, problem};

#[test]
fn sizes_come_from_the_extended_header() {
    let smuggled = Layer::new().file("smuggled", b"").open();
    let size = smuggled.len().to_string();
    let fields = Fields { name: b"outer", size: 0, ..Fields::default() };
    let layer =
        Layer::new().pax(&[("size", size.as_bytes())]).header(&fields).raw(&smuggled).file("after", b"");
    assert_eq!(paths(&[layer.end()]), "/after /outer");
    let fields = Fields { name: b"outer", size: 512, ..Fields::default() };
    let layer = Layer::new().pax(&[("size", b"0")]).header(&fields).raw(&smuggled);
    assert_eq!(paths(&[layer.end()]), "/outer /smuggled");
}

#[test]
fn what_has_no_data_has_none() {
    for kind in [b'1', b'2', b'3', b'5', b'6'] {
        let fields = Fields { kind, name: b"x", link: b"f", size: 4096, ..Fields::default() };
        let layer = Layer::new().file("f", b"").header(&fields).file("after", b"");
        assert_eq!(paths(&[layer.end()]), "/after /f /x");
    }
}

#[test]
fn long_names() {
    let long = "n".repeat(200);
    let expected = format!("/{long}");
    assert_eq!(
        paths(&[Layer::new().special(b'L', format!("{long}\0").as_bytes()).file("x", b"").end()]),
        expected
    );
    assert_eq!(paths(&[Layer::new().pax(&[("path", long.as_bytes())]).file("x", b"").end()]), expected);
    let both = Layer::new().pax(&[("path", long.as_bytes())]).special(b'L', b"other\0").file("x", b"");
    assert_eq!(problem(&[both.end()]), Problem::TwoNames("name"));
    let link = Layer::new().special(b'K', b"target\0").symlink("x", "short");
    assert!(dump(&[link.end()]).ends_with(" target\n"));
    let name = "n".repeat(256);
    let layer = Layer::new().pax(&[("path", name.as_bytes())]).file("x", b"");
    let limit = Problem::Limit { what: "the length of the name", value: 256, limit: 255 };
    assert_eq!(problem(&[layer.end()]), limit);
}

#[test]
fn ends_of_archives() {
    let file = Layer::new().file("f", b"data");
    let whole = file.clone().open();
    assert_eq!(paths(std::slice::from_ref(&whole)), "/f", "no zero blocks");
    assert_eq!(paths(&[whole[..516].to_vec()]), "/f", "not even the last block is filled");
    assert_eq!(paths(&[[whole.clone(), vec![0; 512]].concat()]), "/f", "one zero block");
    assert_eq!(paths(&[[file.clone().end(), b"junk".to_vec()].concat()]), "/f", "junk after the end");
    assert_eq!(paths(&[Vec::new()]), "", "nothing at all");
    assert_eq!(problem(&[whole[..515].to_vec()]), Problem::Truncated(1));
    assert_eq!(problem(&[whole[..300].to_vec()]), Problem::Truncated(212));
    assert_eq!(problem(&[file.clone().raw(&[0; 512]).file("g", b"").end()]), Problem::LoneZeroBlock);
    assert_eq!(problem(&[Layer::new().pax(&[("path", b"x")]).end()]), Problem::Dangling);
    assert_eq!(problem(&[[whole, vec![b'x'; 512]].concat()]), Problem::Checksum);
}

#[test]
fn global_headers_are_ignored_or_refused() {
    let global =
        |records: &[(&str, &[u8])]| Layer::new().special(b'g', &pax_records(records)).file("f", b"").end();
    assert_eq!(paths(&[global(&[("comment", b"0123"), ("uid", b"5")])]), "/f");
    assert_eq!(problem(&[global(&[("path", b"x")])]), Problem::GlobalPax("path".into()));
}

#[test]
fn out_of_range() {
    let entry = |records: &[(&str, &[u8])]| problem(&[Layer::new().pax(records).file("x", b"").end()]);
    assert!(matches!(entry(&[("uid", b"4294967295")]), Problem::Limit { what: "uid", .. }));
    assert!(matches!(entry(&[("size", b"9223372036854775807")]), Problem::Truncated(_)));
    assert!(matches!(entry(&[("SCHILY.xattr.user.x", &[0; 65536])]), Problem::Limit { .. }));
    assert_eq!(problem(&[Layer::new().symlink("x", "").end()]), Problem::EmptyTarget);
    assert!(matches!(problem(&[Layer::new().device("x", 4096, 0).end()]), Problem::Limit { .. }));
    let unknown = Fields { kind: b'Z', name: b"x", ..Fields::default() };
    assert_eq!(problem(&[Layer::new().header(&unknown).end()]), Problem::Kind('Z'));
    let huge = Fields { kind: b'x', name: b"x", size: 1 << 30, ..Fields::default() };
    assert!(matches!(problem(&[Layer::new().header(&huge).end()]), Problem::Limit { .. }));
}

#[test]
fn sparse_files() {
    let records: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"8192"),
    ];
    let sparse = |map: &[u8], data: &[u8]| {
        let mut stored = map.to_vec();
        stored.resize(stored.len().next_multiple_of(512), 0);
        stored.extend_from_slice(data);
        Layer::new().pax(records).file("x", &stored).end()
    };
    let text = dump(&[sparse(b"2\n0\n512\n8192\n0\n", &[1; 512])]);
    assert!(text.ends_with("/s -0644 0:0 8192 1700000000.000000000 1 1@sparse/512+0\n"), "{text}");
    let text = dump(&[sparse(b"1\n0\n8192\n", &[1; 8192])]);
    assert!(text.ends_with("1@2048\n"), "a full map is an ordinary file: {text}");
    for map in [
        &b"1\n0\n512"[..],
        b"1\n0\n",
        b"x\n",
        b"1\n8000\n512\n",
        b"2\n512\n256\n0\n256\n",
        b"99999999999999999999\n",
        b"9999999\n",
    ] {
        assert!(merge(&[sparse(map, &[1; 512])]).is_err(), "{map:?}");
    }
    let huge: &[(&str, &[u8])] = &[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"9223372036854775807")];
    assert!(matches!(problem(&[Layer::new().pax(huge).file("x", b"1").end()]), Problem::Limit { .. }));
}
