//! Requests to one registry.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode, Uri, header};
use ureq::{Agent, Body, SendBody};

use super::config::{Config, is_loopback};
use super::credentials::Login;
use super::error::RegistryError;
use crate::store::shorten;

/// How many redirects one after the other are followed.
const MAX_REDIRECTS: usize = 5;
/// How often something is asked again that the registry could not answer just now.
const MAX_RETRIES: u32 = 4;
/// The longest that a registry may make us wait before we ask again.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How much of an error's text is read, in bytes.
const MAX_ERROR: u64 = 16 << 10;
/// Where the registry behind the name docker.io is.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// What somebody wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Read it.
    Pull,
    /// Read and write it.
    Push,
}

impl Permission {
    /// The word for it that tokens are asked for with.
    pub(super) fn scope(self, repository: &str) -> String {
        let actions = if self == Self::Pull { "pull" } else { "pull,push" };
        format!("repository:{repository}:{actions}")
    }
}

/// A connection to one registry.
#[derive(Debug)]
pub struct Client {
    pub(super) registry: String,
    /// Scheme, host and port.
    pub(super) base: String,
    pub(super) agent: Agent,
    pub(super) login: Option<Login>,
    /// `Authorization` for each scope; that for no scope is good for all.
    known: Mutex<HashMap<String, String>>,
    pub(super) timeout: Duration,
}

/// One request.
pub(super) struct Ask<'a> {
    /// What it is for, in messages.
    pub what: &'a str,
    pub method: Method,
    /// A path of the registry, or a whole URL.
    pub url: &'a str,
    pub headers: &'a [(header::HeaderName, String)],
    pub body: Payload<'a>,
    /// Tokens' scopes, with spaces between them.
    pub scope: &'a str,
    /// Whether the answer may take as long as it likes, as long as it goes on.
    pub long: bool,
}

/// What a request carries.
pub(super) enum Payload<'a> {
    /// Nothing.
    None,
    /// A document.
    Bytes(&'a [u8]),
    /// This many bytes of something that can be opened again when the request is repeated.
    Stream(u64, &'a dyn Fn() -> io::Result<Box<dyn Read + 'a>>),
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
        let mut client = Self {
            registry: registry.to_owned(),
            base: format!("https://{host}"),
            agent,
            login,
            known: Mutex::default(),
            timeout,
        };
        let secure = client.ping();
        if let Err(secure) = secure {
            if !is_loopback(registry) && !config.is_insecure(registry) {
                return Err(secure);
            }
            client.base = format!("http://{host}");
            // A server that wants TLS answers plain http with this.
            if client.ping().ok().is_none_or(|status| status == StatusCode::BAD_REQUEST) {
                return Err(secure);
            }
        }
        Ok(client)
    }

    fn ping(&self) -> Result<StatusCode, RegistryError> {
        let ask = Ask { what: "the registry", ..Ask::get("/v2/", "") };
        let url = format!("{}/v2/", self.base);
        Ok(self.send(&ask, &url, None).map_err(|e| self.broken(&e))?.status())
    }

    /// The registry, as names of images have it.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// How long it may say nothing.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
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
                let reason = format!("{}{}", response.status().as_u16(), told(&mut response));
                Err(failed(reason))
            }
            Err(RegistryError::Denied { reason, .. }) => Err(failed(reason)),
            Err(e) => Err(e),
        }
    }

    /// Sends a request, with whatever authentication the registry asks for, and again when it has no time now. Answers
    /// with what the registry answers.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> Result<Response<Body>, RegistryError> {
        let (mut challenged, mut tries) = (false, 0);
        loop {
            let authorization = self.known(ask.scope);
            let response = match self.follow(ask, authorization.as_deref()) {
                Err(RegistryError::Connection { .. }) if ask.is_safe() && tries < MAX_RETRIES => {
                    thread::sleep(pause(tries));
                    tries += 1;
                    continue;
                }
                other => other?,
            };
            match response.status().as_u16() {
                401 if !challenged => {
                    challenged = true;
                    self.authenticate(ask, response)?;
                }
                429 | 502 | 503 | 504 if tries < MAX_RETRIES => {
                    let wait = retry_after(&response).unwrap_or_else(|| pause(tries));
                    if wait > MAX_WAIT {
                        return Ok(response);
                    }
                    thread::sleep(wait);
                    tries += 1;
                }
                _ => return Ok(response),
            }
        }
    }

    /// The same, when only success will do.
    pub(super) fn demand(&self, ask: &Ask<'_>) -> Result<Response<Body>, RegistryError> {
        let response = self.ask(ask)?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(ask, response)) }
    }

    /// What an answer that is no success means.
    pub(super) fn refused(&self, ask: &Ask<'_>, mut response: Response<Body>) -> RegistryError {
        let status = response.status().as_u16();
        let wait = retry_after(&response);
        let mut reason = told(&mut response).trim_start_matches(": ").to_owned();
        if let (429 | 503, Some(wait)) = (status, wait) {
            reason = format!("{reason}; try again in {} seconds", wait.as_secs());
        }
        let registry = self.registry.clone();
        match status {
            401 | 403 => {
                let reason = format!("{status} {reason}").trim().to_owned();
                let (action, repository) = denied(ask.scope);
                RegistryError::Denied { registry, action, repository, reason }
            }
            _ => RegistryError::Status { registry, what: ask.what.to_owned(), status, reason },
        }
    }

    /// An answer that makes no sense.
    pub(super) fn nonsense(&self, what: &str, reason: impl Into<String>) -> RegistryError {
        let (registry, what) = (self.registry.clone(), what.to_owned());
        RegistryError::Answer { registry, what, reason: reason.into() }
    }

    pub(super) fn broken(&self, error: &ureq::Error) -> RegistryError {
        let reason = match error {
            ureq::Error::Timeout(_) => format!("it said nothing for {} seconds", self.timeout.as_secs()),
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                format!("it said nothing for {} seconds", self.timeout.as_secs())
            }
            other => other.to_string(),
        };
        RegistryError::Connection { registry: self.registry.clone(), reason: shorten(&reason) }
    }

    fn known(&self, scope: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(scope).or_else(|| known.get("")).cloned()
    }

    pub(super) fn remember(&self, scope: &str, authorization: String) {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.insert(scope.to_owned(), authorization);
    }

    /// Sends a request and follows redirects. Who we are is told to the registry alone.
    fn follow(&self, ask: &Ask<'_>, authorization: Option<&str>) -> Result<Response<Body>, RegistryError> {
        let mut url = self.absolute(&self.base, ask.url);
        for _ in 0..=MAX_REDIRECTS {
            let ours = origin(&url) == origin(&self.base);
            let response =
                self.send(ask, &url, authorization.filter(|_| ours)).map_err(|e| self.broken(&e))?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) || !ask.is_safe() {
                return Ok(response);
            }
            let Some(location) = header_of(&response, &header::LOCATION) else {
                return Err(self.nonsense(ask.what, "it redirects without saying where to"));
            };
            let next = self.absolute(origin(&url), location);
            if url.starts_with("https://") && !next.starts_with("https://") {
                return Err(self.nonsense(ask.what, "it redirects from https to something less secure"));
            }
            url = next;
        }
        Err(self.nonsense(ask.what, format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// A URL that may be relative to `origin`.
    pub(super) fn absolute(&self, origin: &str, url: &str) -> String {
        match url {
            _ if url.starts_with("http://") || url.starts_with("https://") => url.to_owned(),
            _ if url.starts_with('/') => format!("{origin}{url}"),
            _ => format!("{origin}/{url}"),
        }
    }

    fn send(
        &self,
        ask: &Ask<'_>,
        url: &str,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, ureq::Error> {
        let uri: Uri = url.parse().map_err(|_| ureq::Error::BadUri(shorten(url)))?;
        let mut request = Request::builder().method(ask.method.clone()).uri(uri);
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        // A whole document comes within twice the time that nothing may come.
        let limit = (!ask.long).then_some(2 * self.timeout);
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

    /// The bytes of a small answer.
    pub(super) fn document(
        &self,
        what: &str,
        response: &mut Response<Body>,
        most: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        limited(response, most).map_err(|reason| self.nonsense(what, reason))
    }
}

impl<'a> Ask<'a> {
    /// A GET.
    pub(super) fn get(url: &'a str, scope: &'a str) -> Self {
        let (method, body) = (Method::GET, Payload::None);
        Self { what: "", method, url, headers: &[], body, scope, long: false }
    }

    /// Whether asking twice does no harm.
    fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

/// A header, if it is text.
pub(super) fn header_of<'a>(response: &'a Response<Body>, name: &header::HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// What was to be done to which repository, going by a scope, for messages.
pub(super) fn denied(scope: &str) -> (&'static str, String) {
    let action = if scope.contains(":pull,push") { "push" } else { "pull" };
    (action, scope.split(':').nth(1).unwrap_or("it").to_owned())
}

/// What the registry says about an error, after a colon; nothing when it says nothing that can be understood.
pub(super) fn told(response: &mut Response<Body>) -> String {
    let text = limited(response, MAX_ERROR).unwrap_or_default();
    let Ok(answer) = serde_json::from_slice::<Value>(&text) else { return String::new() };
    let first = answer.pointer("/errors/0").unwrap_or(&answer);
    let word = |field: &str| first.get(field).and_then(Value::as_str).unwrap_or_default();
    let said = [
        word("code").to_lowercase().replace('_', " "),
        word("message").to_owned(),
        word("details").to_owned(),
    ];
    let said: Vec<_> = said.iter().filter(|word| !word.is_empty()).map(|word| shorten(word)).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join(": ")) }
}

pub(super) fn limited(response: &mut Response<Body>, most: u64) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    response
        .body_mut()
        .as_reader()
        .take(most + 1)
        .read_to_end(&mut text)
        .map_err(|e| shorten(&e.to_string()))?;
    if text.len() as u64 > most {
        return Err(format!("it is longer than {most} bytes, the most that Moat takes"));
    }
    Ok(text)
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = header_of(response, &header::RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How long to wait before the next try.
pub(super) fn pause(tries: u32) -> Duration {
    Duration::from_millis(250) * 2_u32.pow(tries.min(6))
}

/// A value in a URL.
pub(super) fn escape(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        assert_eq!(origin("https://a.b:5000/v2/?x"), "https://a.b:5000");
        assert_eq!(origin("http://a?x"), "http://a");
    }
}
