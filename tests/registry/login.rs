//! Who may do what: passwords, tokens, certificates, credential helpers.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::client::Client;
use crate::liar::{Image, Liar, Reply, Request, taking};
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
        let authorization = request.authorization();
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

/// A registry that takes tokens alone, and gives them as `told`.
fn token_registry(told: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Liar {
    Liar::start(Image::new(10), move |request, _| match request.path.as_str() {
        path if path.starts_with("/token") => told(request),
        _ if request.authorization() == "Bearer t" => taking(request),
        _ => {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.headers["host"]);
            Reply::Answer(401, vec![("WWW-Authenticate", realm)], vec![])
        }
    })
}

/// The answer with a token in it.
fn token() -> Reply {
    Reply::Answer(200, vec![], br#"{"token": "t"}"#.to_vec())
}

#[test]
fn who_gives_tokens_may_be_busy() {
    for status in [429, 503] {
        let (client, busy) = (Client::new(), AtomicBool::new(true));
        let liar = token_registry(move |_| {
            if busy.swap(false, Ordering::Relaxed) {
                let past = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
                return Reply::Answer(status, vec![("Retry-After", past)], vec![]);
            }
            token()
        });
        client.run(["pull", "-q", &liar.name()]).ok();
        assert_eq!(liar.asked("/token").len(), 2);
    }
    let (client, liar) = (
        Client::new(),
        token_registry(|_| {
            let error = br#"{"errors": [{"code": "UNAVAILABLE", "message": "back on Monday"}]}"#;
            Reply::Answer(503, vec![("Retry-After", "100000".to_owned())], error.to_vec())
        }),
    );
    let said = "answers 503: unavailable: back on Monday; try again in 100000 seconds";
    client.run(["pull", &liar.name()]).code(1).says(&["a token", said]);
    assert_eq!(liar.asked("/token").len(), 1);
}

#[test]
fn identity_tokens_get_other_tokens() {
    let (client, liar) = (Client::new(), token_registry(|_| token()));
    client.configure_docker(&json!({"auths": {&liar.address: {"identitytoken": "who/I am"}}}));
    client.run(["pull", "-q", &liar.name()]).ok();
    let asked = liar.asked("/token").pop().expect("it was asked");
    assert_eq!((asked.method.as_str(), asked.path.as_str(), asked.authorization()), ("POST", "/token", ""));
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let form = "grant_type=refresh_token&client_id=moat&refresh_token=who%2FI%20am&service=s\
                &scope=repository%3Aapp%3Apull";
    assert_eq!(String::from_utf8_lossy(&asked.body), form);
}

#[test]
fn a_push_asks_for_what_it_needs() {
    let (client, liar) = (Client::new(), token_registry(|_| token()));
    client.run(["pull", "-q", &liar.name()]).ok();
    let copy = format!("{}/team/copy:2", liar.address);
    client.run(["tag", &liar.name(), &copy]).ok();
    client.run(["push", &copy]).ok();
    let asked = liar.asked("/token");
    let scopes = "scope=repository%3Ateam%2Fcopy%3Apull%2Cpush&scope=repository%3Aapp%3Apull";
    assert!(asked[1..].iter().all(|request| request.path.ends_with(scopes)), "{asked:?}");
    let uploads = liar.asked("/uploads/?mount=sha256");
    assert!(uploads.iter().all(|request| request.path.ends_with("&from=app")), "{uploads:?}");
    let manifest = liar.asked("/v2/team/copy/manifests/2").pop().expect("the manifest");
    assert_eq!((manifest.method.as_str(), &*manifest.body), ("PUT", &*liar.image.manifest));
}

/// A helper that knows alice at the registry that it was told about, and the directory that it is in.
fn make_helper(name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let secret = directory.path().join("secret");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{0} ;;\nget) cat {0} 2>/dev/null || \
         {{ echo credentials not found in native keychain; exit 1; }} ;;\nerase) rm {0} ;;\nesac\n",
        secret.display()
    );
    let helper = directory.path().join(format!("docker-credential-{name}"));
    std::fs::write(&helper, script).expect("a file");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    (directory, secret)
}

#[test]
fn each_registry_may_have_a_helper() {
    let (client, liar) = (Client::new(), token_front());
    let (directory, secret) = make_helper("one");
    std::fs::write(&secret, r#"{"Username": "alice", "Secret": "se:cret"}"#).expect("a file");
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("PATH"));
    let pull = || crate::support::finish(client.command(["pull", &liar.name()]).env("PATH", &path));
    client.configure_docker(&json!({"credHelpers": {"other.example": "one"}}));
    pull().code(1).says(&["pull access denied"]);
    // The registry's own one goes before the general one, and before what the file says.
    let helpers = json!({&liar.address: "one"});
    let auths = json!({&liar.address: {"auth": "d3Jvbmc6d3Jvbmc="}});
    client.configure_docker(&json!({"credHelpers": helpers, "credsStore": "missing", "auths": auths}));
    pull().ok();
}

#[test]
fn helpers_keep_secrets() {
    let (client, liar) = (Client::new(), token_front());
    let (directory, secret) = make_helper("test");
    let config = client.docker_config();
    client.configure_docker(&json!({"credsStore": "test", "detachKeys": "ctrl-x"}));
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
