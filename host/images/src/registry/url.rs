//! URLs. Most come from a server: where a redirect leads, where an upload continues, which server gives tokens.

use std::fmt;

use ureq::http::Uri;

/// Scheme, host and port. What agrees in them is the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

/// A URL that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Url {
    pub origin: Origin,
    pub uri: Uri,
}

impl Origin {
    /// Whether it speaks https.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    /// `HOST` or `HOST:PORT`, as a registry is called in names of images.
    pub(super) fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Url {
    /// Understands a whole URL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Self { origin: Origin { secure, host, port }, uri })
    }

    /// Understands a URL that may be relative to `origin`.
    pub(super) fn join(origin: &Origin, text: &str) -> Option<Self> {
        let is_whole = || text.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some());
        match text {
            _ if text.starts_with('/') => Self::parse(&format!("{origin}{text}")),
            _ if is_whole() => Self::parse(text),
            _ => Self::parse(&format!("{origin}/{text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> String {
        Url::parse(text).expect("a URL").origin.to_string()
    }

    #[test]
    fn origins_are_told_apart() {
        assert_eq!(origin("https://a.b:5000/v2/?x"), "https://a.b:5000");
        assert_eq!(origin("http://a?x"), "http://a");
        assert_eq!(origin("HTTPS://A.b:443/"), origin("https://a.b"));
        assert_eq!(origin("https://registry.example@elsewhere.example/"), "https://elsewhere.example");
        assert_eq!(origin("http://[::1]:5000/"), "http://[::1]:5000");
        assert_ne!(origin("http://a.b/"), origin("https://a.b/"));
        for text in ["ftp://a/", "a.b/c", "/v2/", "https://", "https:///x", ""] {
            assert!(Url::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn urls_may_be_relative() {
        let origin = Url::parse("https://a.b:5000/v2/x").expect("a URL").origin;
        for (text, expected) in [
            ("/v2/y?z=http://c", "https://a.b:5000/v2/y?z=http://c"),
            ("v2/y", "https://a.b:5000/v2/y"),
            ("//c.d/y", "https://a.b:5000//c.d/y"),
            ("http://c.d/y", "http://c.d/y"),
        ] {
            assert_eq!(Url::join(&origin, text).expect("a URL").uri.to_string(), expected);
        }
        assert!(Url::join(&origin, "ftp://c.d/y").is_none());
    }
}
