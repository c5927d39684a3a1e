//! Content digests and image ids.
//!
//! Only sha256 is spoken: it is what every image in use is addressed by, and one algorithm means one folder of blobs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// How many hexadecimal digits of an id people are shown.
const SHORT: usize = 12;

/// The sha256 of some bytes; written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DigestError {
    /// Another algorithm.
    #[error("digest {0:?} is not of the sha256 kind, the only one Moat reads")]
    Algorithm(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("digest {0:?} is not `sha256:` and 64 lower-case hexadecimal digits")]
    Digits(String),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hexadecimal digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// When it is anything else, capital letters included.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        let fault = || DigestError::Digits(super::shorten::shorten(hex));
        if hex.len() != 2 * bytes.len() {
            return Err(fault());
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(fault)?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Self::from_hex(hex),
            Some(_) => Err(DigestError::Algorithm(super::shorten::shorten(text))),
            None => Err(DigestError::Digits(super::shorten::shorten(text))),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A digest under construction.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// What Docker calls an image's id: the digest of its config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

impl ImageId {
    /// The first 12 digits, which people are shown and may type.
    pub fn short(&self) -> String {
        let mut hex = self.0.hex();
        hex.truncate(SHORT);
        hex
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_and_digest_are_the_same_thing() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(ImageId(Digest::of(b"")).short(), "e3b0c44298fc");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "sha256:", "sha256:../../../etc/passwd", &EMPTY[7..], &EMPTY.to_uppercase()] {
            text.parse::<Digest>().unwrap_err();
        }
        let upper = format!("sha256:{}", EMPTY[7..].to_uppercase());
        assert!(matches!(upper.parse::<Digest>(), Err(DigestError::Digits(_))));
        assert!(matches!("sha512:00".parse::<Digest>(), Err(DigestError::Algorithm(_))));
    }
}
