//! What Moat says of itself and of its host.

use crate::support::{Moat, shared};

#[test]
fn the_doctor_finds_this_host_healthy() {
    let text = shared().run(["doctor"]).ok();
    for check in ["ok    KVM", "ok    cgroups", "ok    ext4 tools", "ok    Moat's own files"] {
        assert!(text.contains(check), "{check} is missing: {text}");
    }
}

#[test]
fn the_doctor_names_what_is_missing() {
    let answer = crate::support::finish(
        shared()
            .command(["doctor"])
            .env("MOAT_LIBEXEC", "/nonexistent")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped()),
    );
    let answer = answer.code(1);
    assert!(answer.text().contains("FAIL  Moat's own files"), "{}", answer.text());
    assert!(answer.text().contains("/nonexistent/moat-vmm"), "{}", answer.text());
}

#[test]
fn a_missing_or_corrupt_kernel_is_a_clear_error() {
    let moat = Moat::with(&["busybox"]);
    let libexec = tempfile::tempdir().expect("a directory");
    for file in ["moat-monitor", "moat-vmm", "initramfs.cpio"] {
        std::fs::copy(crate::support::dist().join("libexec/moat").join(file), libexec.path().join(file))
            .expect("copied");
    }
    let run = || {
        crate::support::finish(
            moat.command(["run", "--rm", "localhost/busybox", "true"])
                .env("MOAT_LIBEXEC", libexec.path())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped()),
        )
    };
    run().code(125).says(&["vmlinux", "No such file"]);
    for content in [&b""[..], b"not a kernel", &[0x7f; 100_000], b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"] {
        std::fs::write(libexec.path().join("vmlinux"), content).expect("written");
        run().code(125).says(&["kernel"]);
    }
    moat.assert_clean();
}

#[test]
fn version_and_info_speak() {
    assert!(shared().run(["version"]).ok().contains(env!("CARGO_PKG_VERSION")));
    let json: serde_json::Value =
        serde_json::from_str(&shared().run(["version", "--format", "json"]).ok()).expect("JSON");
    assert_eq!(json["Server"]["Version"], env!("CARGO_PKG_VERSION"));
    let client = shared().run(["version", "--format", "{{.Client.Version}}"]).ok();
    assert_eq!(client.trim(), env!("CARGO_PKG_VERSION"));
    assert_eq!(shared().run(["info", "-f", "{{.OSType}}/{{.Architecture}}"]).ok(), "linux/x86_64\n");
    let json: serde_json::Value =
        serde_json::from_str(&shared().run(["info", "--format", "json"]).ok()).expect("JSON");
    assert!(json["NCPU"].as_u64().is_some_and(|count| count > 0));
    let info = shared().run(["info"]).ok();
    for part in ["Containers: ", "Images: ", "Kernel Version: ", "CPUs: "] {
        assert!(info.contains(part), "{part} is missing: {info}");
    }
}

#[test]
fn every_verb_explains_itself() {
    for verb in [
        "run",
        "ps",
        "logs",
        "rm",
        "load",
        "images",
        "rmi",
        "image",
        "info",
        "version",
        "doctor",
        "completion",
    ] {
        let help = shared().run([verb, "--help"]).ok();
        assert!(help.contains("Usage: moat"), "{verb}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(shared().run(["completion", shell]).ok().contains("moat"));
    }
}
