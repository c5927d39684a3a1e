//! Moat with a root, credentials and a registry configuration of its own.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Answer, Moat, finish, names_in};

/// What no pull may need more of, in bytes: its data, stacks included.
const MEMORY: &str = "134217728";

pub struct Client {
    pub moat: Moat,
    home: tempfile::TempDir,
}

impl Client {
    /// One that has nothing yet.
    pub fn new() -> Self {
        let client = Self { moat: Moat::empty(), home: tempfile::tempdir().expect("a temporary directory") };
        client.configure(&serde_json::json!({}));
        client
    }

    /// Writes the registry configuration.
    pub fn configure(&self, config: &serde_json::Value) {
        std::fs::write(self.home.path().join("registries.json"), config.to_string()).expect("a file");
    }

    /// Where Docker's config.json is.
    pub fn docker_config(&self) -> PathBuf {
        self.home.path().join("docker/config.json")
    }

    /// Writes Docker's config.json.
    pub fn configure_docker(&self, config: &serde_json::Value) {
        let path = self.docker_config();
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, config.to_string()).expect("a file");
    }

    /// Makes it alice at a registry, whose password is `se:cret`.
    pub fn be_alice(&self, registry: &str) {
        self.configure_docker(&serde_json::json!({"auths": {registry: {"auth": "YWxpY2U6c2U6Y3JldA=="}}}));
    }

    /// A command, not started yet.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let moat = self.moat.command(args);
        let mut command = Command::new("prlimit");
        command.arg(format!("--data={MEMORY}")).arg(moat.get_program()).args(moat.get_args());
        for (name, value) in moat.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .env("MOAT_REGISTRIES", self.home.path().join("registries.json"))
            .env("DOCKER_CONFIG", self.home.path().join("docker"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Answer {
        finish(&mut self.command(args))
    }

    /// The store's blobs.
    pub fn blobs(&self) -> Vec<String> {
        names_in(&self.moat.root().join("images/blobs/sha256"))
    }

    /// What interrupted pulls left.
    pub fn partial(&self) -> Vec<String> {
        names_in(&self.moat.root().join("partial"))
    }

    /// Asserts that everything in the store is sound and nothing is half done.
    #[track_caller]
    pub fn assert_sound(&self) {
        let answer = self.run(["system", "check"]);
        assert!(answer.code == 0, "{}{}", answer.text(), answer.stderr);
        assert_eq!(names_in(&self.moat.root().join("staging")), Vec::<String>::new());
    }
}
