//! A connection to one registry.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use ureq::http::{Request, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, SendBody};

use super::ask::{Ask, Payload};
use super::config::{Config, is_loopback};
use super::credentials::Login;
use super::error::RegistryError;
use super::headers::{header_of, retry_after};
use super::url::{Origin, Url};
use crate::store::shorten;

/// How many redirects one after the other are followed.
const MAX_REDIRECTS: usize = 5;
/// How often something is asked again that the registry could not answer just now.
const MAX_RETRIES: u32 = 4;
/// The longest that a registry may make us wait before we ask again.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Where the registry behind the name docker.io is.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A connection to one registry.
#[derive(Debug)]
pub struct Client {
    registry: String,
    /// Where the registry is.
    pub(super) base: Origin,
    config: Config,
    agent: Agent,
    pub(super) login: Option<Login>,
    /// `Authorization` for each scope; that for no scope is good for all.
    known: Mutex<HashMap<String, String>>,
}

impl Client {
    /// Finds out how `registry` is to be spoken to.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn connect(registry: &str, config: &Config, login: Option<Login>) -> Result<Self, RegistryError> {
        let timeout = config.timeout();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(config.proxy(registry)?)
            .tls_config(config.tls(registry)?)
            .timeout_connect(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_per_read(Some(timeout))
            .timeout_per_write(Some(timeout))
            .user_agent(concat!("moat/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let host = if registry == HUB.0 { HUB.1 } else { registry };
        let at = |scheme: &str| {
            let url = Url::parse(&format!("{scheme}://{host}/"));
            let reason = format!("{:?} is not HOST or HOST:PORT", shorten(host));
            let bad = RegistryError::Connection { registry: registry.to_owned(), reason };
            url.map(|url| url.origin).ok_or(bad)
        };
        let plain = is_loopback(registry) || config.is_insecure(registry);
        let known = Mutex::default();
        let (registry, base, config) = (registry.to_owned(), at("https")?, config.clone());
        let mut client = Self { registry, base, config, agent, login, known };
        // Where plain http will do, that is the next thing to try.
        let secure = client.ping(!plain);
        if let Err(secure) = secure {
            if !plain {
                return Err(secure);
            }
            client.base = at("http")?;
            // A server that wants TLS answers plain http with this.
            if client.ping(true).ok().is_none_or(|status| status == StatusCode::BAD_REQUEST) {
                return Err(secure);
            }
        }
        Ok(client)
    }

    /// Whether the registry answers; any answer will do. A registry that is busy is asked again.
    fn ping(&self, patient: bool) -> Result<StatusCode, RegistryError> {
        let ask = Ask { what: "the registry", ..Ask::get("/v2/", "") };
        let url = self.led(ask.what, &self.base, ask.url)?;
        let mut tries = 0;
        loop {
            match self.send(&ask, &url.uri, None) {
                Err(ureq::Error::Io(e)) if patient && is_passing(&e) && tries < MAX_RETRIES => {
                    thread::sleep(pause(tries));
                    tries += 1;
                }
                other => return Ok(other.map_err(|e| self.broken(&e))?.status()),
            }
        }
    }

    /// Whether a server may be spoken to in plain http.
    fn may_be_plain(&self, origin: &Origin) -> bool {
        let authority = origin.authority();
        *origin == self.base || is_loopback(&authority) || self.config.is_insecure(&authority)
    }

    /// The registry, as names of images have it.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// How long it may say nothing.
    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout()
    }

    /// Makes sure that we are who we say.
    ///
    /// # Errors
    /// When the registry does not agree.
    pub fn check_login(&self) -> Result<(), RegistryError> {
        let response = self.ask(&Ask { what: "the login", ..Ask::get("/v2/", "") });
        let failed = |reason: String| RegistryError::LoginFailed { registry: self.registry.clone(), reason };
        match response {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(mut response) => {
                let said = self.said(&mut response);
                Err(failed(format!("{} {said}", response.status().as_u16()).trim_end().to_owned()))
            }
            Err(RegistryError::Denied { reason, .. }) => Err(failed(reason)),
            Err(e) => Err(e),
        }
    }

    /// Sends a request with the authentication that the registry asks for, and again when the registry is busy. Returns
    /// the registry's answer.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> Result<Response<Body>, RegistryError> {
        let response = self.patiently(ask, || self.follow(ask))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.authenticate(ask, response)?;
        self.patiently(ask, || self.follow(ask))
    }

    /// Sends a request by `send`, and again when the connection breaks or the registry says that it is busy.
    pub(super) fn patiently(
        &self,
        ask: &Ask<'_>,
        send: impl Fn() -> Result<Response<Body>, RegistryError>,
    ) -> Result<Response<Body>, RegistryError> {
        for tries in 0..MAX_RETRIES {
            let response = match send() {
                Err(RegistryError::Connection { .. }) if ask.is_safe() => {
                    thread::sleep(pause(tries));
                    continue;
                }
                other => other?,
            };
            // With 429 nothing was done; with the others, who knows.
            let busy = match response.status().as_u16() {
                429 => true,
                502..=504 => !ask.once,
                _ => false,
            };
            let wait = retry_after(&response).unwrap_or_else(|| pause(tries));
            if !busy || wait > MAX_WAIT {
                return Ok(response);
            }
            thread::sleep(wait);
        }
        send()
    }

    /// The same, when only success will do.
    pub(super) fn demand(&self, ask: &Ask<'_>) -> Result<Response<Body>, RegistryError> {
        let response = self.ask(ask)?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(ask, response)) }
    }

    fn known(&self, scope: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(scope).or_else(|| known.get("")).cloned()
    }

    pub(super) fn remember(&self, scope: &str, authorization: String) {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.insert(scope.to_owned(), authorization);
    }

    /// Sends a request and follows redirects. Credentials go to the registry alone: from the first redirect to another
    /// server on, none are sent.
    fn follow(&self, ask: &Ask<'_>) -> Result<Response<Body>, RegistryError> {
        let authorization = self.known(ask.scope);
        let mut url = self.led(ask.what, &self.base, ask.url)?;
        let mut ours = true;
        for _ in 0..=MAX_REDIRECTS {
            ours &= url.origin == self.base;
            let authorization = authorization.as_deref().filter(|_| ours);
            let response = self.send(ask, &url.uri, authorization).map_err(|e| self.broken(&e))?;
            let status = response.status().as_u16();
            if status == 401 && !ours {
                let reason = format!(
                    "it leads to {}, which wants to know who we are; Moat tells that to the registry alone",
                    url.origin
                );
                return Err(self.nonsense(ask.what, reason));
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) || !ask.is_safe() {
                return Ok(response);
            }
            let Some(location) = header_of(&response, &header::LOCATION) else {
                return Err(self.nonsense(ask.what, "it redirects without saying where to"));
            };
            url = self.led(ask.what, &url.origin, location)?;
        }
        Err(self.nonsense(ask.what, format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// Where `to` leads, which the server at `from` names. Every URL that a server chose comes through here: never
    /// from https to plain http, and to plain http only where that is allowed.
    pub(super) fn led(&self, what: &str, from: &Origin, to: &str) -> Result<Url, RegistryError> {
        let no_url = || format!("it leads to {:?}, which is no URL of http", shorten(to));
        let url = Url::join(from, to).ok_or_else(|| self.nonsense(what, no_url()))?;
        let to = &url.origin;
        if to.is_secure() || to == from || (!from.is_secure() && self.may_be_plain(to)) {
            return Ok(url);
        }
        let reason = if from.is_secure() {
            format!("it leads from https to {to}, which is less secure")
        } else {
            format!(
                "it leads to {to}, and plain http is for this machine alone; if that is fine, make {} \"insecure\" in \
                 {}",
                to.authority(),
                self.config.path().display()
            )
        };
        Err(self.nonsense(what, reason))
    }

    /// Sends a request once, to where it says and nowhere else.
    pub(super) fn send(
        &self,
        ask: &Ask<'_>,
        uri: &Uri,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = Request::builder().method(ask.method.clone()).uri(uri.clone());
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        // A whole document comes within twice the time that nothing may come.
        let limit = (!ask.long).then_some(2 * self.timeout());
        macro_rules! run {
            ($request:expr) => {{
                let request = $request.map_err(ureq::Error::Http)?;
                let request = self.agent.configure_request(request).timeout_global(limit).build();
                self.agent.run(request)
            }};
        }
        match &ask.body {
            Payload::None if ask.is_safe() => run!(request.body(())),
            Payload::None => run!(request.body(&[][..])),
            Payload::Bytes(bytes) => run!(request.body(*bytes)),
            Payload::Stream(length, open) => {
                let mut reader = open().map_err(ureq::Error::Io)?;
                let request = request.header(header::CONTENT_LENGTH, *length);
                run!(request.body(SendBody::from_reader(&mut reader)))
            }
        }
    }
}

/// Whether a connection that failed may work in a moment. A refused one is a mistake more often than not.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// How long to wait before the next try.
pub(super) fn pause(tries: u32) -> Duration {
    Duration::from_millis(250) * 2_u32.pow(tries.min(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client without a connection.
    fn client(base: &str, config: &str) -> Client {
        Client {
            registry: "registry.example".to_owned(),
            base: Url::parse(base).expect("a URL").origin,
            config: serde_json::from_str(config).expect("a configuration"),
            agent: Agent::new_with_defaults(),
            login: None,
            known: Mutex::default(),
        }
    }

    #[test]
    fn no_server_leads_to_plain_http() {
        let told = r#"{"registries": {"reg.lan:5000": {"insecure": true}, "auth.lan": {"insecure": true}}}"#;
        for (base, to, allowed) in [
            ("https://a.b", "/v2/", true),
            ("https://a.b", "https://c.d/x", true),
            ("https://a.b", "http://a.b/x", false),
            ("https://a.b", "http://127.0.0.1/x", false),
            ("https://a.b", "http://auth.lan/x", false),
            ("https://a.b", "ftp://a.b/x", false),
            ("http://localhost:5000", "http://127.0.0.1:9/x", true),
            ("http://localhost:5000", "https://a.b/x", true),
            ("http://localhost:5000", "http://a.b/x", false),
            ("http://localhost:5000", "http://localhost@a.b/x", false),
            ("http://reg.lan:5000", "http://reg.lan:5000/x", true),
            ("http://reg.lan:5000", "http://reg.lan/x", false),
            ("http://reg.lan:5000", "http://auth.lan:80/x", true),
        ] {
            let client = client(base, told);
            assert_eq!(client.led("it", &client.base, to).is_ok(), allowed, "{base} {to}");
        }
        let client = client("http://localhost:5000", "{}");
        let reason = client.led("a token", &client.base, "http://a.b:81/").unwrap_err().to_string();
        assert!(reason.contains("it leads to http://a.b:81, and plain http is for this machine"), "{reason}");
    }
}
