//! Attributes, owners, modes, times, link counts, devices.

use crate::support::{Fields, Layer, proof::prove};

/// Keys of an extended header for attributes of these names.
fn keys(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("SCHILY.xattr.{name}")).collect()
}

/// A file with attributes of these names, all with the same value.
fn with(layer: Layer, path: &str, kind: u8, names: &[String], value: &[u8]) -> Layer {
    let keys = keys(names);
    let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), value)).collect();
    let fields = Fields {
        kind,
        name: path.as_bytes(),
        link: if kind == b'2' { b"t" } else { b"" },
        ..Fields::default()
    };
    layer.long(&fields, &records, b"")
}

/// Values of every length up to more than a block, so that entries end at each place in a block.
#[test]
fn values_of_every_length() {
    let mut layer = Layer::new();
    for length in 0..=1100 {
        let value: Vec<u8> = (0..length).map(|at| (at % 251) as u8 + 1).collect();
        layer = with(layer, &format!("{length}"), b'0', &["user.k".to_owned()], &value);
    }
    prove(&[layer.end()]);
}

/// Names up to Linux' 255 bytes with their prefix, of all kinds of prefixes.
#[test]
fn names_of_every_length() {
    let mut layer = Layer::new();
    for prefix in ["user.", "trusted.", "security."] {
        for length in 1..=255 - prefix.len() {
            let name = format!("{prefix}{}", "n".repeat(length));
            layer = with(layer, &format!("{prefix}{length}"), b'0', &[name], b"value");
        }
    }
    prove(&[layer.end()]);
}

/// Several of them, so that a search for one passes others across blocks.
#[test]
fn many_of_one_file() {
    let mut layer = Layer::new();
    for count in 1..=60 {
        let names: Vec<String> =
            (0..count).map(|number| format!("user.{}", "k".repeat(number + 1))).collect();
        for (kind, value) in [(b'0', &[7; 13][..]), (b'5', &[7; 500][..])] {
            layer = with(layer, &format!("{kind}-{count}"), kind, &names, value);
        }
        let names: Vec<String> = names.iter().map(|name| name.replace("user.", "trusted.")).collect();
        layer = with(layer, &format!("link-{count}"), b'2', &names, &[9; 25]);
    }
    // The most that the limits allow.
    layer = with(layer, "largest", b'0', &["user.large".to_owned()], &[5; 65_535]);
    prove(&[layer.end()]);
}

/// Access control lists have numbers of their own, without a rest of the name.
#[test]
fn access_control_lists() {
    let entry = |tag: u16, permissions: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let list = [
        2u32.to_le_bytes().to_vec(),
        entry(1, 7, u32::MAX),
        entry(2, 5, 1000),
        entry(4, 5, u32::MAX),
        entry(16, 5, u32::MAX),
        entry(32, 5, u32::MAX),
    ]
    .concat();
    let names = ["system.posix_acl_access", "system.posix_acl_default", "user.other"].map(str::to_owned);
    let layer = with(Layer::new(), "directory", b'5', &names, &list);
    let layer = with(layer, "file", b'0', &names[..1], &list);
    prove(&[layer.end()]);
}

/// Each number at the edges of what compact and extended inodes hold.
#[test]
fn owners_times_and_modes() {
    let mut layer = Layer::new().file("usual", b"x").file("usual2", b"x");
    let ids = ["0", "1", "65534", "65535", "65536", "2147483648", "4294967294"];
    for uid in ids {
        for gid in ids {
            let path = format!("{uid}-{gid}");
            let records = [("uid", uid.as_bytes()), ("gid", gid.as_bytes())];
            layer = layer.long(&Fields { name: path.as_bytes(), ..Fields::default() }, &records, b"x");
        }
    }
    let times =
        ["0", "-1", "-1.5", "1.000000001", "2147483647.999999999", "2147483648", "4294967296", "15032385535"];
    for time in times {
        layer = layer.long(
            &Fields { name: format!("t{time}").as_bytes(), ..Fields::default() },
            &[("mtime", time.as_bytes())],
            b"x",
        );
    }
    for mode in 0..=0o7777 {
        for (kind, name) in [(b'0', format!("modes/{mode:o}")), (b'5', format!("directories/{mode:o}"))] {
            if kind == b'0' || mode % 8 == 0 {
                layer = layer.header(&Fields { kind, name: name.as_bytes(), mode, ..Fields::default() });
            }
        }
    }
    prove(&[layer.end()]);
}

#[test]
fn devices_and_pipes() {
    let mut layer = Layer::new();
    for major in [0, 1, 8, 255, 256, 4095] {
        for minor in [0, 1, 255, 256, 65_535, 1_048_575] {
            for kind in [b'3', b'4'] {
                let name = format!("{kind}-{major}-{minor}");
                let fields =
                    Fields { kind, name: name.as_bytes(), device: (major, minor), ..Fields::default() };
                layer = layer.header(&fields);
            }
        }
    }
    let layer = layer.header(&Fields { kind: b'6', name: b"pipe", ..Fields::default() });
    prove(&[layer.end()]);
}

/// Names in one directory and in several, in an order that meets the file under its last name first.
#[test]
fn link_counts() {
    let mut layer = Layer::new();
    for links in [1, 2, 3, 255, 256] {
        let first = format!("z/{links}/first");
        layer = layer.file(&first, b"x");
        for number in 1..links {
            layer = layer.hardlink(&format!("{}/{links}-{number}", ["a", "z"][number % 2]), &first);
        }
        // Of symbolic links, pipes and devices too.
        layer = layer
            .symlink(&format!("s{links}"), "target")
            .hardlink(&format!("s{links}-2"), &format!("s{links}"));
    }
    prove(&[layer.end()]);
}
