//! What can go wrong with a registry. A message tells its cause itself, so that nothing has to walk a chain of errors.

use std::path::PathBuf;

use thiserror::Error;

use super::credentials::CredentialError;
use crate::store::{DigestError, LoadError, StoreError};
use moat_records::kind::ErrorKind;

/// What can go wrong with a registry.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The registry cannot be reached, or hangs up.
    #[error("cannot reach registry {registry}: {reason}{}", advice(.reason))]
    Connection {
        /// Which registry.
        registry: String,
        /// What happened.
        reason: String,
    },
    /// The registry asks for credentials, or refuses those that it got.
    #[error(
        "{action} access denied for {repository}, repository does not exist or may require 'moat login': {registry} says \
         {reason}"
    )]
    Denied {
        /// Which registry.
        registry: String,
        /// What was to be done.
        action: &'static str,
        /// To what.
        repository: String,
        /// What it says.
        reason: String,
    },
    /// User name and password are wrong.
    #[error("login attempt to {registry} failed: {reason}; check the user name and the password")]
    LoginFailed {
        /// Which registry.
        registry: String,
        /// What it says.
        reason: String,
    },
    /// There is no such image.
    #[error("manifest for {0} not found: manifest unknown")]
    NoManifest(String),
    /// The registry answers with an error.
    #[error("{what}: registry {registry} answers {status}{}", said(.reason))]
    Status {
        /// Which registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// The status code of HTTP.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// The registry's answer makes no sense.
    #[error("{what}: registry {registry} gives a bad answer: {reason}")]
    Answer {
        /// Which registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No manifest for the platform.
    #[error("no matching manifest for {wanted} in the manifest list entries of {image}; it has {}", several(.offered))]
    Platform {
        /// Which image.
        image: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// The image is for another platform.
    #[error(
        "image {image} was found but its platform ({found}) does not match the specified platform ({wanted})"
    )]
    OtherPlatform {
        /// Which image.
        image: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// Text that names no platform.
    #[error(
        "{0:?} is not a platform; write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64, or an \
         architecture alone"
    )]
    NotAPlatform(String),
    /// A malformed digest.
    #[error("{what}: {cause}")]
    Digest {
        /// What has it.
        what: String,
        /// What is wrong.
        cause: DigestError,
    },
    /// The configuration cannot be used.
    #[error("{}: {reason}", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The store does not take the image, or does not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another layer of the same image failed, so that this one is not wanted any more.
    #[error("the pull was given up")]
    GivenUp,
}

impl RegistryError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Denied { .. } | Self::LoginFailed { .. } | Self::Status { status: 401 | 403, .. } => {
                ErrorKind::Denied
            }
            Self::NoManifest(_)
            | Self::Status { status: 404, .. }
            | Self::Platform { .. }
            | Self::OtherPlatform { .. } => ErrorKind::NotFound,
            Self::NotAPlatform(_) => ErrorKind::Invalid,
            Self::Store(e) => e.kind(),
            Self::Connection { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::Digest { .. }
            | Self::Config { .. }
            | Self::Credentials(_)
            | Self::GivenUp => ErrorKind::Host,
        }
    }

    /// Whether the registry may be able to do in a moment what it could not do now.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Connection { .. } | Self::Status { status: 502..=504, .. })
    }

    /// Whether another source of the same image may do better. What is wrong with this machine, or with the image
    /// itself, is wrong wherever it comes from.
    pub(super) fn blames_source(&self) -> bool {
        match self {
            Self::Store(StoreError::Load(LoadError::Mismatch { kind, .. })) => *kind == "digest",
            Self::Store(StoreError::Load(LoadError::Layer { .. })) => true,
            Self::Store(_) | Self::OtherPlatform { .. } | Self::GivenUp => false,
            _ => true,
        }
    }
}

fn several(offered: &[String]) -> String {
    if offered.is_empty() { "none that says what it is for".to_owned() } else { offered.join(", ") }
}

fn said(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// What to do about a connection that people can do something about.
fn advice(reason: &str) -> &'static str {
    if reason.contains("UnknownIssuer") || reason.contains("InvalidCertificate") {
        "; to trust the registry's own authority, name its certificate as \"ca\" in /etc/moat/registries.json"
    } else {
        ""
    }
}
