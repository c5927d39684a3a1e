//! Names of images: `[registry/][namespace/]repository[:tag][@digest]`.
//!
//! People type the short form and Docker's rules say what it means: `ubuntu` is `docker.io/library/ubuntu:latest`. A
//! [`Reference`] always is the long form; [`Reference::familiar`] gives the short one back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::{Digest, DigestError};
use super::shorten::shorten;

/// The registry of names that say none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The old name of the same registry, which Docker still takes.
const LEGACY_REGISTRY: &str = "index.docker.io";
/// The namespace of [`DEFAULT_REGISTRY`]'s names that say none.
const DEFAULT_NAMESPACE: &str = "library";
/// The tag of names that say none.
const DEFAULT_TAG: &str = "latest";
/// The longest registry and repository together, in bytes; what registries agree on.
const MAX_NAME: usize = 255;
/// The longest tag, in bytes; the OCI distribution specification's figure.
const MAX_TAG: usize = 128;

/// The full name of an image. It has a tag, a digest, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// Nothing where a name should be.
    #[error(
        "invalid reference format: {0:?} has no repository name; write NAME, NAME:TAG or REGISTRY/NAME:TAG"
    )]
    NoName(String),
    /// Capital letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// A part of the repository that registries would refuse.
    #[error(
        "invalid reference format: {part:?} in {text:?} is not a part of a repository name, which is lower-case letters \
         and digits, with single `.`, `_`, `__` or dashes between them"
    )]
    Component {
        /// What was typed.
        text: String,
        /// The part at fault.
        part: String,
    },
    /// Something that is neither a host name nor an address in front.
    #[error("invalid reference format: {0:?} is not a registry, which is HOST or HOST:PORT")]
    Registry(String),
    /// A malformed tag.
    #[error(
        "invalid reference format: {0:?} is not a tag, which is up to 128 letters, digits, `_`, `.` and `-` \
         and does not begin with `.` or `-`"
    )]
    Tag(String),
    /// A malformed digest.
    #[error("invalid reference format: {0}")]
    Digest(#[from] DigestError),
    /// Too many characters.
    #[error("invalid reference format: {0:?} is longer than 255 characters")]
    TooLong(String),
    /// An id where a name should be.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
}

impl Reference {
    /// The registry, such as `docker.io` or `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, such as `library/ubuntu`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if the name has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name has one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The repository's image with this digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository's image with this tag.
    ///
    /// # Errors
    /// When it is no tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        Ok(Self { tag: Some(check_tag(tag)?.to_owned()), digest: None, ..self.clone() })
    }

    /// What `text` means when it is a repository alone, without a tag or a digest.
    pub(super) fn of_repository(text: &str) -> Option<Self> {
        let last = text.rsplit('/').next()?;
        if last.contains([':', '@']) { None } else { text.parse().ok() }
    }

    /// Whether both are in the same repository of the same registry.
    pub fn is_same_repository(&self, other: &Self) -> bool {
        (&self.registry, &self.repository) == (&other.registry, &other.repository)
    }

    /// Registry and repository as people write them: `ubuntu`, `someone/app`, `localhost/app`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.split_once('/') {
            Some((DEFAULT_NAMESPACE, name)) if !name.contains('/') => name.to_owned(),
            // Without its registry, this one's namespace would be taken for a registry.
            Some((first, _)) if is_host(first) => format!("{}/{}", self.registry, self.repository),
            _ => self.repository.clone(),
        }
    }

    /// The whole name as people write it, with its tag.
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).collect()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let tag_at = rest.rfind(':').filter(|&at| !rest[at..].contains('/'));
        let (name, tag) = match tag_at {
            Some(at) => (&rest[..at], Some(check_tag(&rest[at + 1..])?)),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(ReferenceError::NoName(shorten(text)));
        }
        if Digest::from_hex(name).is_ok() {
            return Err(ReferenceError::LooksLikeId(name.to_owned()));
        }
        let (registry, repository) = split_registry(name)?;
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(shorten(name)));
        }
        check_repository(name, &repository)?;
        let tag = match (tag, digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

/// Whether the first part of a name is a registry rather than a namespace: it has a dot, a port or capital letters, or
/// is this very machine.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':', '[']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Takes the registry off `name` and fills in what is left out.
fn split_registry(name: &str) -> Result<(String, String), ReferenceError> {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (check_registry(first)?, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == LEGACY_REGISTRY { DEFAULT_REGISTRY } else { registry };
    let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        format!("{DEFAULT_NAMESPACE}/{repository}")
    } else {
        repository.to_owned()
    };
    Ok((registry.to_owned(), repository))
}

fn check_registry(text: &str) -> Result<&str, ReferenceError> {
    let fault = || ReferenceError::Registry(shorten(text));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(fault)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| fault())?;
            (None, port.strip_prefix(':').or((!port.is_empty()).then_some("")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let host = host.is_none_or(|host| host.split('.').all(label));
    let port =
        port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    if host && port { Ok(text) } else { Err(fault()) }
}

fn check_repository(name: &str, repository: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase(shorten(repository)));
    }
    match repository.split('/').find(|part| !is_component(part)) {
        None => Ok(()),
        Some(part) => Err(ReferenceError::Component { text: shorten(name), part: shorten(part) }),
    }
}

/// Letters and digits, with one separator between runs of them: `.`, `_`, `__`, or any number of dashes.
fn is_component(part: &str) -> bool {
    let is_separator = |c: char| matches!(c, '.' | '_' | '-');
    let known = part.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9') || is_separator(c));
    let enclosed = !part.is_empty() && !part.starts_with(is_separator) && !part.ends_with(is_separator);
    known
        && enclosed
        && part
            .split(|c| !is_separator(c))
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<&str, ReferenceError> {
    let known = tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if known && !tag.is_empty() && tag.len() <= MAX_TAG && !tag.starts_with(['.', '-']) {
        Ok(tag)
    } else {
        Err(ReferenceError::Tag(shorten(tag)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    #[test]
    fn short_names_mean_what_docker_says() {
        for (typed, meant) in [
            ("ubuntu", "docker.io/library/ubuntu:latest"),
            ("ubuntu:20.04", "docker.io/library/ubuntu:20.04"),
            ("someone/app", "docker.io/someone/app:latest"),
            ("docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
            ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest"),
            ("localhost/busybox", "localhost/busybox:latest"),
            ("localhost:5000/team/app:production", "localhost:5000/team/app:production"),
            ("ghcr.io/a/b/c:1", "ghcr.io/a/b/c:1"),
            ("gcr.io/google-containers/nginx", "gcr.io/google-containers/nginx:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[fe80::1]/app", "[fe80::1]/app:latest"),
            ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest"),
            ("UPPER/app", "UPPER/app:latest"),
        ] {
            assert_eq!(full(typed), meant);
            assert_eq!(full(meant), meant);
        }
    }

    #[test]
    fn digests_replace_the_default_tag() {
        let digest = Digest::of(b"");
        assert_eq!(full(&format!("ubuntu@{digest}")), format!("docker.io/library/ubuntu@{digest}"));
        assert_eq!(full(&format!("ubuntu:1@{digest}")), format!("docker.io/library/ubuntu:1@{digest}"));
    }

    #[test]
    fn familiar_names_are_short() {
        for (long, short) in [
            ("docker.io/library/ubuntu:20.04", "ubuntu:20.04"),
            ("docker.io/someone/app:1", "someone/app:1"),
            ("docker.io/library/a/b:1", "library/a/b:1"),
            ("docker.io/a.b/c:1", "docker.io/a.b/c:1"),
            ("localhost/busybox:latest", "localhost/busybox:latest"),
        ] {
            let reference: Reference = long.parse().unwrap();
            assert_eq!(reference.familiar(), short);
            assert_eq!(full(short), long);
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        let long = format!("localhost/{}", "a".repeat(300));
        let tag = format!("a:{}", "t".repeat(129));
        let id = "a".repeat(64);
        for (text, word) in [
            ("", "no repository name"),
            (":tag", "no repository name"),
            ("Ubuntu", "lowercase"),
            ("localhost/Ubuntu", "lowercase"),
            ("a//b", "not a part of a repository"),
            ("a/", "not a part of a repository"),
            ("/a", "not a part of a repository"),
            ("a..b", "not a part of a repository"),
            ("a___b", "not a part of a repository"),
            ("-a", "not a part of a repository"),
            ("a b", "not a part of a repository"),
            ("../../etc", "is not a registry"),
            ("localhost:port/a", "is not a registry"),
            ("localhost:99999/a", "is not a registry"),
            ("[::1/a", "is not a registry"),
            ("a:", "is not a tag"),
            ("a:.b", "is not a tag"),
            (&tag, "is not a tag"),
            ("a@sha256:12", "64 lower-case"),
            ("a@md5:12", "sha256 kind"),
            (&long, "longer than 255"),
            (&id, "64-byte hexadecimal"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(word), "{text:?}: {error}");
            assert!(error.len() < 400, "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_parses_again(text in "\\PC{0,40}|[a-zA-Z0-9:/@.\\[\\]_-]{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
                prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
