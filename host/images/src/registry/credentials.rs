//! The user's credentials at a registry: Docker's `config.json`, and the programs (`docker-credential-NAME`) that keep
//! secrets better than a file does.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use moat_records::record::{self, RecordError};

/// Under which key Docker keeps who we are at docker.io.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that says that the secret is a token.
const TOKEN_USER: &str = "<token>";

/// The user's credentials at one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// With a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        secret: String,
    },
    /// With a token that gets other tokens.
    IdentityToken(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No secret ends up in a log.
        f.write_str("Login")
    }
}

/// What can go wrong with credentials.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The file cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A credential helper does not do what it should.
    #[error("credential helper {helper} failed: {reason}")]
    Helper {
        /// The program.
        helper: String,
        /// What happened.
        reason: String,
    },
}

/// Docker's configuration file, of which only the credentials are ours: all else in it stays as it is.
#[derive(Debug, Clone)]
pub struct Credentials {
    path: PathBuf,
    document: Map<String, Value>,
}

/// What helpers are told and tell.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperLogin {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

/// The directory of `config.json` when it is not the environment's.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

impl Credentials {
    /// Has `config.json` be in `directory`, for all of this process. Only the first call counts.
    pub fn keep_in(directory: PathBuf) {
        let _ = DIRECTORY.set(directory);
    }

    /// Reads `config.json` in the directory of [`Credentials::keep_in`], or `$DOCKER_CONFIG`, or `~/.docker`, if there
    /// is one.
    ///
    /// # Errors
    /// When it cannot be read or is not JSON.
    pub fn read() -> Result<Self, CredentialError> {
        let environment =
            || std::env::var_os("DOCKER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = || std::env::home_dir().unwrap_or_default().join(".docker");
        let directory = DIRECTORY.get().cloned().or_else(environment).unwrap_or_else(home);
        Self::read_from(&directory.join("config.json"))
    }

    fn read_from(path: &Path) -> Result<Self, CredentialError> {
        let fault = |reason: String| CredentialError::File { path: path.to_owned(), reason };
        let document = match fs::read(path) {
            Ok(text) if text.trim_ascii().is_empty() => Map::new(),
            Ok(text) => serde_json::from_slice(&text).map_err(|e| fault(e.to_string()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(e) => return Err(fault(e.to_string())),
        };
        Ok(Self { path: path.to_owned(), document })
    }

    /// Where they are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The login for `registry`, if one is known.
    ///
    /// # Errors
    /// When a helper fails or the entry cannot be understood.
    pub fn get(&self, registry: &str) -> Result<Option<Login>, CredentialError> {
        if let Some(helper) = self.helper(registry) {
            return helper_get(&helper, key(registry));
        }
        let Some(auths) = self.document.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let wanted = bare(key(registry));
        let entry = auths.iter().find(|(name, _)| bare(name) == wanted);
        let Some((_, entry)) = entry else { return Ok(None) };
        let text = |field: &str| entry.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Login::IdentityToken(token.to_owned())));
        }
        if let Some((user, secret)) = text("username").zip(text("password")) {
            return Ok(Some(Login::Password { user: user.to_owned(), secret: secret.to_owned() }));
        }
        let Some(auth) = text("auth") else { return Ok(None) };
        let fault = || CredentialError::File {
            path: self.path.clone(),
            reason: format!("the entry of {registry} is not USER:PASSWORD in base64; log in again"),
        };
        let decoded = STANDARD.decode(auth).map_err(|_| fault())?;
        let decoded = String::from_utf8(decoded).map_err(|_| fault())?;
        let (user, secret) = decoded.trim_end_matches('\0').split_once(':').ok_or_else(fault)?;
        Ok(Some(Login::Password { user: user.to_owned(), secret: secret.to_owned() }))
    }

    /// Keeps who we are at `registry`. Says whether a file now has the password as good as in clear.
    ///
    /// # Errors
    /// When the file cannot be written or a helper fails.
    pub fn store(&mut self, registry: &str, user: &str, secret: &str) -> Result<bool, CredentialError> {
        let key = key(registry);
        if let Some(helper) = self.helper(registry) {
            let login =
                HelperLogin { server: key.to_owned(), username: user.to_owned(), secret: secret.to_owned() };
            let text = serde_json::to_string(&login).expect("three strings are JSON");
            call(&helper, "store", &text)?;
            self.auths()?.insert(key.to_owned(), json!({}));
            self.write()?;
            return Ok(false);
        }
        let auth = STANDARD.encode(format!("{user}:{secret}"));
        self.auths()?.insert(key.to_owned(), json!({ "auth": auth }));
        self.write()?;
        Ok(true)
    }

    /// Forgets the login for `registry`, and says whether there was one.
    ///
    /// # Errors
    /// When the file cannot be written or a helper fails.
    pub fn erase(&mut self, registry: &str) -> Result<bool, CredentialError> {
        let wanted = bare(key(registry)).to_owned();
        let mut known = false;
        if let Some(helper) = self.helper(registry) {
            known = helper_get(&helper, key(registry))?.is_some();
            if known {
                call(&helper, "erase", key(registry))?;
            }
        }
        let auths = self.auths()?;
        let before = auths.len();
        auths.retain(|name, _| bare(name) != wanted);
        if auths.len() != before {
            known = true;
            self.write()?;
        }
        Ok(known)
    }

    /// The program that keeps the secrets of `registry`.
    fn helper(&self, registry: &str) -> Option<String> {
        let own = self
            .document
            .get("credHelpers")
            .and_then(|helpers| helpers.get(registry).or_else(|| helpers.get(key(registry))));
        let name = own.or_else(|| self.document.get("credsStore"))?.as_str()?;
        (!name.is_empty()).then(|| format!("docker-credential-{name}"))
    }

    fn auths(&mut self) -> Result<&mut Map<String, Value>, CredentialError> {
        let path = self.path.clone();
        let auths = self.document.entry("auths").or_insert_with(|| json!({}));
        auths
            .as_object_mut()
            .ok_or(CredentialError::File { path, reason: "\"auths\" is not an object".to_owned() })
    }

    fn write(&self) -> Result<(), CredentialError> {
        let fault = |e: io::Error| CredentialError::File { path: self.path.clone(), reason: e.to_string() };
        if let Some(directory) = self.path.parent() {
            use std::os::unix::fs::DirBuilderExt;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fault)?;
        }
        // A link to a file elsewhere stays a link.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut text = serde_json::to_vec_pretty(&self.document).expect("JSON is JSON");
        text.push(b'\n');
        Ok(record::write_bytes(&path, &text)?)
    }
}

/// What Docker calls the registry in its file.
fn key(registry: &str) -> &str {
    if registry == "docker.io" { HUB_KEY } else { registry }
}

/// The host of a key: older entries are whole URLs.
fn bare(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

fn helper_get(helper: &str, server: &str) -> Result<Option<Login>, CredentialError> {
    let answer = match call(helper, "get", server) {
        Ok(answer) => answer,
        // Helpers say by this text that they have no login.
        Err(CredentialError::Helper { reason, .. }) if reason.contains("credentials not found") => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let login: HelperLogin = serde_json::from_str(&answer)
        .map_err(|e| CredentialError::Helper { helper: helper.to_owned(), reason: e.to_string() })?;
    if login.username.is_empty() && login.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(match login.username.as_str() {
        TOKEN_USER => Login::IdentityToken(login.secret),
        _ => Login::Password { user: login.username, secret: login.secret },
    }))
}

fn call(helper: &str, verb: &str, input: &str) -> Result<String, CredentialError> {
    let fault = |reason: String| CredentialError::Helper { helper: helper.to_owned(), reason };
    let mut command = Command::new(helper);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| fault(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is told says why in its answer.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| fault(e.to_string()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = [text(&output.stdout), text(&output.stderr)];
    let said = said.iter().find(|said| !said.is_empty()).map_or("it says nothing", String::as_str);
    Err(fault(said.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (tempfile::TempDir, Credentials) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, text).unwrap();
        let credentials = Credentials::read_from(&path).unwrap();
        (directory, credentials)
    }

    fn password(user: &str, secret: &str) -> Option<Login> {
        Some(Login::Password { user: user.to_owned(), secret: secret.to_owned() })
    }

    #[test]
    fn dockers_entries_are_understood() {
        let (_directory, credentials) = read(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "YWxpY2U6cDpx"},
                "https://old.example/v1/": {"username": "u", "password": "p"},
                "token.example": {"identitytoken": "t"},
                "empty.example": {},
                "bad.example": {"auth": "!"}
            }}"#,
        );
        assert_eq!(credentials.get("docker.io").unwrap(), password("alice", "p:q"));
        assert_eq!(credentials.get("old.example").unwrap(), password("u", "p"));
        assert_eq!(credentials.get("token.example").unwrap(), Some(Login::IdentityToken("t".to_owned())));
        assert_eq!(credentials.get("empty.example").unwrap(), None);
        assert_eq!(credentials.get("other.example").unwrap(), None);
        let error = credentials.get("bad.example").unwrap_err().to_string();
        assert!(error.contains("log in again"), "{error}");
    }

    #[test]
    fn what_is_not_ours_stays() {
        let (directory, mut credentials) =
            read(r#"{"HttpHeaders": {"a": "b"}, "auths": {"x.y": {"auth": "YTpi"}}}"#);
        assert!(credentials.store("docker.io", "me", "secret").unwrap());
        let again = Credentials::read_from(credentials.path()).unwrap();
        assert_eq!(again.get("docker.io").unwrap(), password("me", "secret"));
        assert_eq!(again.get("x.y").unwrap(), password("a", "b"));
        assert!(again.document.contains_key("HttpHeaders"));
        assert!(credentials.erase("x.y").unwrap() && !credentials.erase("x.y").unwrap());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(directory.path().join("config.json")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}
