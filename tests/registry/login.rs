//! Who may do what: passwords, tokens, certificates, credential helpers.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;

use crate::client::Client;
use crate::liar::{Image, Liar, Reply, Request};
use crate::server::{Access, Server};
use crate::support::{Answer, image_archive};

/// Logs in with the password on standard input.
fn login(client: &Client, registry: &str, password: &str) -> Answer {
    let mut command = client.command(["login", "-u", "alice", "--password-stdin", registry]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("moat starts");
    writeln!(child.stdin.take().expect("a pipe"), "{password}").expect("it reads");
    let output = child.wait_with_output().expect("output");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Answer { code: output.status.code().expect("an exit code"), stdout: output.stdout, stderr }
}

#[test]
fn a_guarded_registry_wants_a_certificate_and_a_password() {
    let (server, client) = (Server::start(Access::Guarded), Client::new());
    let archive = image_archive("busybox", "docker");
    client.run(["load", "-qi", archive.to_str().expect("a UTF-8 path")]).ok();
    let name = server.name("busybox:1");
    client.run(["tag", "localhost/busybox", &name]).ok();
    login(&client, &server.address, "se:cret").code(1).says(&["certificate", "\"ca\""]);
    client.configure(&json!({"registries": {&server.address: {"ca": server.authority()}}}));
    client.run(["push", &name]).code(1).says(&["push access denied for busybox", "moat login"]);
    login(&client, &server.address, "wrong").code(1).says(&["login attempt", "failed", "401"]);
    assert!(!client.docker_config().exists());
    assert_eq!(login(&client, &server.address, "se:cret").ok(), "Login Succeeded\n");
    client.run(["push", &name]).ok();
    client.run(["rmi", "-f", &name, "localhost/busybox"]).ok();
    client.run(["pull", &name]).ok();
    assert!(client.run(["logout", &server.address]).ok().starts_with("Removing login credentials"));
    assert!(client.run(["logout", &server.address]).ok().starts_with("Not logged in"));
    client.run(["pull", &name]).code(1).says(&["pull access denied for busybox"]);
    client.assert_sound();
}

/// A registry that takes tokens alone, and gives them to alice.
fn token_front() -> Liar {
    Liar::start(Image::new(10), |request: &Request, _| {
        let authorization = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
        if let Some(query) = request.path.strip_prefix("/token?") {
            // alice:se:cret
            let known = authorization == "Basic YWxpY2U6c2U6Y3JldA==";
            let scope = query.contains("scope=repository%3Aapp%3Apull");
            return match (known, scope || !query.contains("scope")) {
                (true, true) => Reply::Answer(200, vec![], br#"{"access_token": "open-sesame"}"#.to_vec()),
                (true, false) => Reply::Answer(403, vec![], vec![]),
                _ => Reply::Answer(401, vec![], br#"{"errors": [{"code": "UNAUTHORIZED"}]}"#.to_vec()),
            };
        }
        if authorization == "Bearer open-sesame" {
            return Reply::Honest;
        }
        let challenge =
            format!("Bearer realm=\"http://{}/token\",service=\"the registry\"", request.headers["host"]);
        Reply::Answer(401, vec![("WWW-Authenticate", challenge)], vec![])
    })
}

#[test]
fn tokens_are_fetched_for_what_is_wanted() {
    let (client, liar) = (Client::new(), token_front());
    client.run(["pull", &liar.name()]).code(1).says(&["pull access denied for app", "unauthorized"]);
    login(&client, &liar.address, "wrong").code(1).says(&["login attempt"]);
    login(&client, &liar.address, "se:cret").ok();
    client.run(["pull", &liar.name()]).ok();
    let asked = liar.asked("/token?");
    assert!(asked.last().is_some_and(|request| request.path.contains("service=the%20registry")), "{asked:?}");
    let tokens = asked.len();
    client.run(["pull", &liar.name()]).ok();
    assert_eq!(liar.asked("/token?").len(), tokens + 1, "one token for all of a pull");
}

#[test]
fn helpers_keep_secrets() {
    let (client, liar) = (Client::new(), token_front());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let secret = directory.path().join("secret");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{0} ;;\nget) cat {0} 2>/dev/null || \
         {{ echo credentials not found in native keychain; exit 1; }} ;;\nerase) rm {0} ;;\nesac\n",
        secret.display()
    );
    let helper = directory.path().join("docker-credential-test");
    std::fs::write(&helper, script).expect("a file");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let config = client.docker_config();
    std::fs::create_dir_all(config.parent().expect("a directory")).expect("a directory");
    std::fs::write(&config, r#"{"credsStore": "test", "detachKeys": "ctrl-x"}"#).expect("a file");
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("PATH"));
    let moat = |args: &[&str]| crate::support::finish(client.command(args).env("PATH", &path));
    moat(&["pull", &liar.name()]).code(1).says(&["pull access denied"]);
    let answer = moat(&["login", "-u", "alice", "-p", "se:cret", &liar.address]);
    assert!(answer.stderr.contains("Using --password via the CLI is insecure"), "{}", answer.stderr);
    assert_eq!(answer.ok(), "Login Succeeded\n");
    let kept = std::fs::read_to_string(&config).expect("a file");
    assert!(!kept.contains("auth\"") && kept.contains("detachKeys"), "{kept}");
    moat(&["pull", &liar.name()]).ok();
    moat(&["logout", &liar.address]).ok();
    assert!(!secret.exists());
}
