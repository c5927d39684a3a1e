//! Requests to a registry, before they are sent.

use std::io::{self, Read};

use ureq::http::{Method, header};

/// What is to be done with a repository.
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
    /// Whether it is a step of something that is begun again as a whole: repeated, it might do its work twice.
    pub once: bool,
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

impl<'a> Ask<'a> {
    /// A GET.
    pub(super) fn get(url: &'a str, scope: &'a str) -> Self {
        let (method, body) = (Method::GET, Payload::None);
        Self { what: "", method, url, headers: &[], body, scope, long: false, once: false }
    }

    /// Whether asking twice does no harm.
    pub(super) fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
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
