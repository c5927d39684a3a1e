//! The workspace's edges point one way, as docs/architecture.md draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which of the workspace's packages each one may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("moat", &["moat-engine", "moat-docker"]),
    ("moat-agent", &["moat-netlink", "moat-protocol"]),
    ("moat-containers", &["moat-network", "moat-protocol", "moat-records", "moat-vmm"]),
    ("moat-docker", &["moat-containers", "moat-images", "moat-network", "moat-protocol", "moat-records"]),
    (
        "moat-engine",
        &[
            "moat-containers",
            "moat-images",
            "moat-monitor",
            "moat-network",
            "moat-protocol",
            "moat-records",
            "moat-rootfs",
        ],
    ),
    ("moat-images", &["moat-protocol", "moat-records", "moat-rootfs", "moat-tar-header"]),
    ("moat-monitor", &["moat-containers", "moat-network", "moat-protocol", "moat-records", "moat-vmm"]),
    ("moat-netlink", &[]),
    ("moat-network", &["moat-netlink", "moat-protocol", "moat-records"]),
    ("moat-protocol", &["moat-tar-header"]),
    ("moat-records", &[]),
    ("moat-rootfs", &["moat-tar-header"]),
    ("moat-tar-header", &[]),
    ("moat-test-harness", &[]),
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
            // The rules do not hold for what only tests use.
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
    for &(package, allowed) in ALLOWED {
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

/// Every container has a monitor: what that links lies in memory once per release, and what it does not link cannot be
/// attacked there.
#[test]
fn the_monitor_links_no_command_line_no_http_and_no_tls() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "moat-monitor", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{lib}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let linked = String::from_utf8(output.stdout).expect("UTF-8");
    let linked: BTreeSet<&str> = linked.split_whitespace().collect();
    assert!(linked.contains("tokio") && linked.contains("moat_vmm"), "{linked:?}");
    for name in ["clap", "ureq", "http", "hyper", "rustls", "ring", "webpki", "moat_images", "moat_rootfs"] {
        assert!(!linked.contains(name), "moat-monitor links {name}");
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
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let (_, members) = manifest.split_once("members = [").expect("members");
    let (members, _) = members.split_once(']').expect("the list's end");
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() > 10, "{members:?}");
    // The harness of the tests is no part of what is built: no package may depend on it but for its tests.
    for member in members.into_iter().filter(|member| !member.starts_with("tests/")) {
        let folder = member.split('/').next().expect("a name");
        assert!(words.contains(folder), "{member} is not in scripts/lib/build.sh");
    }
}
