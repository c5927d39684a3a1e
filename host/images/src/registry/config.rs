//! How registries are reached: a JSON file of the host's administrator.
//!
//! ```json
//! {
//!   "proxy": "http://proxy.example:3128",
//!   "timeout": 60,
//!   "registries": {
//!     "docker.io": {"mirrors": ["mirror.example:5000"]},
//!     "registry.example": {"ca": "/etc/moat/example.crt", "insecure": false, "proxy": "none"}
//!   }
//! }
//! ```
//!
//! `insecure` allows plain http, and certificates that no authority has signed. Registries on this very machine (loopback)
//! may always speak plain http. `timeout` is how long, in seconds, a registry may say nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use ureq::Proxy;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::error::RegistryError;

/// Where the file is when nothing else is said.
const DEFAULT_PATH: &str = "/etc/moat/registries.json";
/// The variable that says something else.
const PATH_VARIABLE: &str = "MOAT_REGISTRIES";
/// Where systems keep the certificates that they trust: Debian, Red Hat, SUSE, Alpine.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// How long a registry may say nothing, in seconds, unless the file says so.
const DEFAULT_TIMEOUT: u64 = 60;

/// How registries are reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    proxy: Option<String>,
    timeout: Option<u64>,
    registries: BTreeMap<String, Registry>,
    /// Where it was read.
    #[serde(skip)]
    path: PathBuf,
}

/// How one registry is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Registry {
    mirrors: Vec<String>,
    insecure: bool,
    ca: Option<PathBuf>,
    proxy: Option<String>,
}

impl Config {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// When it cannot be read or is not valid.
    pub fn read() -> Result<Self, RegistryError> {
        let said = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = said.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        match fs::read(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(e) if e.kind() == io::ErrorKind::NotFound && said.is_none() => {
                Ok(Self { path, ..Self::default() })
            }
            Err(e) => Err(RegistryError::Config { path, reason: e.to_string() }),
        }
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self, RegistryError> {
        let fault = |reason: String| RegistryError::Config { path: path.to_owned(), reason };
        let mut config: Self = serde_json::from_slice(text).map_err(|e| fault(e.to_string()))?;
        config.path = path.to_owned();
        Ok(config)
    }

    /// Where it was read, or would be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whom to ask before the registry itself, in this order.
    pub fn mirrors(&self, registry: &str) -> &[String] {
        self.registries.get(registry).map(|one| one.mirrors.as_slice()).unwrap_or_default()
    }

    /// How long a registry may say nothing.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(DEFAULT_TIMEOUT).max(1))
    }

    /// Whether plain http will do, and any certificate.
    pub(super) fn is_insecure(&self, registry: &str) -> bool {
        self.registries.get(registry).is_some_and(|one| one.insecure)
    }

    /// The proxy to the registry: what the file says about it, what the file says, what the environment says.
    pub(super) fn proxy(&self, registry: &str) -> Result<Option<Proxy>, RegistryError> {
        if is_loopback(registry) {
            return Ok(None);
        }
        let own = self.registries.get(registry).and_then(|one| one.proxy.as_ref());
        match own.or(self.proxy.as_ref()).map(String::as_str) {
            None => Ok(Proxy::try_from_env()),
            Some("" | "none") => Ok(None),
            Some(proxy) => Proxy::new(proxy).map(Some).map_err(|e| RegistryError::Config {
                path: self.path.clone(),
                reason: format!("proxy {proxy:?}: {e}"),
            }),
        }
    }

    /// Whom to believe that the registry is who it says: the host decides, and one that has no opinion gets Mozilla's.
    pub(super) fn tls(&self, registry: &str) -> Result<TlsConfig, RegistryError> {
        let own = self.registries.get(registry).and_then(|one| one.ca.as_ref());
        let mut trusted = Vec::new();
        if let Some(path) = own {
            trusted.extend(certificates(path)?);
        }
        let system = SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists());
        if let Some(path) = system {
            trusted.extend(certificates(path)?);
        }
        let roots = if trusted.is_empty() { RootCerts::WebPki } else { RootCerts::from(trusted) };
        let insecure = self.is_insecure(registry);
        Ok(TlsConfig::builder().root_certs(roots).disable_verification(insecure).build())
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let fault = |reason: String| RegistryError::Config { path: path.to_owned(), reason };
    let text = fs::read(path).map_err(|e| fault(e.to_string()))?;
    let items = parse_pem(&text).filter_map(Result::ok);
    let found: Vec<_> = items
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() { Err(fault("there is no certificate in it".to_owned())) } else { Ok(found) }
}

/// Whether a registry, `HOST` or `HOST:PORT`, is on this very machine.
pub(super) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => registry.split_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine() {
        for (registry, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("[fe80::1]:5000", false),
            ("localhost.example", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(registry), expected, "{registry}");
        }
    }

    #[test]
    fn mistakes_in_the_file_are_told() {
        let parse = |text: &str| Config::parse(text.as_bytes(), Path::new("/etc/x.json"));
        let config =
            parse(r#"{"registries": {"a.b": {"mirrors": ["c.d"], "proxy": "none"}}, "timeout": 5}"#).unwrap();
        assert_eq!(config.mirrors("a.b"), ["c.d"]);
        assert!(config.mirrors("c.d").is_empty() && !config.is_insecure("a.b"));
        assert_eq!(config.timeout(), Duration::from_secs(5));
        let error = parse(r#"{"registry": {}}"#).unwrap_err().to_string();
        assert!(error.starts_with("/etc/x.json: unknown field `registry`"), "{error}");
        let config = parse(r#"{"proxy": "what?"}"#).unwrap();
        assert!(config.proxy("a.b").is_err() && config.proxy("localhost:1").unwrap().is_none());
    }
}
