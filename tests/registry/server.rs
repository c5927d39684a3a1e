//! Debian's docker-registry, started for one test on a port of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A registry that ends with the test.
pub struct Server {
    child: Child,
    directory: TempDir,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

/// How it is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Plain http, without a password.
    Open,
    /// https with a certificate of its own authority, and user `alice` with password `se:cret`.
    Guarded,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub fn start(access: Access) -> Self {
        Self::start_with(access, &serde_json::json!({}))
    }

    /// Starts a guarded one that says of each blob that it is to be had elsewhere.
    pub fn redirecting(elsewhere: &str) -> Self {
        let redirect = serde_json::json!({"name": "redirect", "options": {"baseurl": elsewhere}});
        Self::start_with(Access::Guarded, &serde_json::json!({"storage": [redirect]}))
    }

    fn start_with(access: Access, middleware: &serde_json::Value) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = directory.path();
        let mut config = serde_json::json!({
            "version": 0.1,
            "log": {"level": "info", "formatter": "text"},
            "storage": {"filesystem": {"rootdirectory": at.join("data")}},
            "http": {"addr": "127.0.0.1:0"},
            "middleware": middleware,
        });
        if access == Access::Guarded {
            make_certificates(at);
            let users = run("htpasswd", &["-Bbn", "alice", "se:cret"]);
            std::fs::write(at.join("users"), users).expect("the users");
            config["http"]["tls"] = serde_json::json!({
                "certificate": at.join("server.crt"), "key": at.join("server.key"),
            });
            config["auth"] = serde_json::json!({"htpasswd": {"realm": "test", "path": at.join("users")}});
        }
        // JSON is YAML.
        std::fs::write(at.join("config.yml"), config.to_string()).expect("the configuration");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(at.join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let address = log.find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
            Some(rest[..end].to_owned())
        });
        let address = address.expect("docker-registry says where it listens");
        // It would block on a full pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, directory, address }
    }

    /// The certificate of the authority that vouches for it.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// A name of an image in it.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate of it for the loopback address.
fn make_certificates(at: &Path) {
    let file = |name: &str| at.join(name).to_str().expect("a UTF-8 path").to_owned();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let (ca, ca_key, server, server_key) =
        (file("ca.crt"), file("ca.key"), file("server.crt"), file("server.key"));
    let own = ["req", "-x509", "-subj", "/CN=test authority", "-out", &ca, "-keyout", &ca_key];
    run("openssl", &[&own[..], &key[..]].concat());
    let signed = [
        "req",
        "-x509",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-out",
        &server,
        "-keyout",
        &server_key,
    ];
    run("openssl", &[&signed[..], &key[..]].concat());
}

/// Runs a program of the host's, and gives what it prints.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().expect("the program runs");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
