//! The keys that detach a terminal from a container.

use std::str::FromStr;

use thiserror::Error;

/// Docker's default.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of keys, as bytes of a terminal in raw mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// The text is no sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is not a key sequence; an example is {DEFAULT}")]
pub struct DetachKeysError(String);

impl DetachKeys {
    /// The bytes of the keys; none when no keys detach.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for DetachKeys {
    type Err = DetachKeysError;

    /// Reads keys with commas between them: a character, or `ctrl-` and one of `a-z @ [ \ ] ^ _`. An empty text has no
    /// keys.
    fn from_str(text: &str) -> Result<Self, DetachKeysError> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let keys = text.split(',').map(|key| match key.as_bytes() {
            [byte] => Some(*byte),
            [b'c', b't', b'r', b'l', b'-', byte] => match byte {
                b'a'..=b'z' => Some(byte - b'a' + 1),
                b'@' => Some(0),
                b'['..=b'_' => Some(byte - b'[' + 27),
                _ => None,
            },
            _ => None,
        });
        let keys: Option<Vec<u8>> = keys.collect();
        keys.map(Self).ok_or_else(|| DetachKeysError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        assert_eq!(DEFAULT.parse::<DetachKeys>().unwrap().0, [16, 17]);
        assert_eq!("ctrl-@,a,ctrl-\\".parse::<DetachKeys>().unwrap().0, [0, b'a', 28]);
        for bad in ["ctrl-", "ctrl-1", "ab", "ctrl-p,,q", "strg-p"] {
            let error = bad.parse::<DetachKeys>().unwrap_err().to_string();
            assert_eq!(error, format!("'{bad}' is not a key sequence; an example is ctrl-p,ctrl-q"));
        }
    }
}
