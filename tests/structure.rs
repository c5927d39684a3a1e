//! The workspace's edges point one way, as docs/architecture.md draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which of the workspace's packages each one may depend on.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("moat", &["moat-netlink", "moat-protocol", "moat-rootfs", "moat-vmm"]),
    ("moat-agent", &["moat-netlink", "moat-protocol"]),
    ("moat-netlink", &[]),
    ("moat-protocol", &["moat-tar-header"]),
    ("moat-rootfs", &[]),
    ("moat-tar-header", &[]),
    ("moat-vmm", &[]),
];

/// Crates that would bring an async runtime, a network or an engine to where none belongs.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("moat-agent", &["tokio", "clap", "moat-vmm", "moat-rootfs"]),
    ("moat-vmm", &["tokio", "oci-spec", "clap", "moat-protocol"]),
    ("moat-rootfs", &["tokio", "oci-spec", "clap", "serde_json"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("dependencies");
            // What only tests use binds nobody.
            let normal = all.iter().filter(|dependency| dependency["kind"] != "dev");
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn edges_point_one_way() {
    let dependencies = dependencies();
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    assert_eq!(found, known, "a new package needs its place in docs/architecture.md and here");
    for (package, allowed) in ALLOWED {
        for dependency in &dependencies[package] {
            assert!(
                !known.contains(dependency.as_str()) || allowed.contains(&dependency.as_str()),
                "{package} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn runtimes_stay_out_of_where_they_do_not_belong() {
    let dependencies = dependencies();
    for (package, forbidden) in FORBIDDEN {
        for name in forbidden {
            assert!(!dependencies[package].contains(*name), "{package} must not depend on {name}");
        }
    }
}

/// Otherwise `scripts/moat` would run what was built before a change.
#[test]
fn the_build_looks_at_every_package() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(root.join("scripts/lib/build.sh")).expect("the script");
    let looked_at =
        script.lines().find(|line| line.contains("find Cargo.toml")).expect("its list of directories");
    let words: BTreeSet<&str> = looked_at.split_whitespace().collect();
    for package in ALLOWED.iter().filter_map(|(name, _)| name.strip_prefix("moat-")) {
        assert!(words.contains(package), "{package} is not in scripts/lib/build.sh");
    }
}
