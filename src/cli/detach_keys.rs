//! The keys that leave a container's terminal without ending anything.

use std::str::FromStr;

/// Docker's.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of keys, as bytes of a terminal in raw mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl FromStr for DetachKeys {
    type Err = String;

    /// Keys with commas between them: a character, or `ctrl-` and one of `a-z @ [ \ ] ^ _`. Empty for none.
    fn from_str(text: &str) -> Result<Self, String> {
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
        keys.map(Self).ok_or_else(|| format!("'{text}' is no key sequence; one is {DEFAULT}"))
    }
}

/// Looks for the keys in what is typed.
pub struct Watcher {
    keys: Vec<u8>,
    /// How many of them were typed last, and held back.
    held: usize,
}

impl Watcher {
    /// Looks for `keys`.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys: keys.0, held: 0 }
    }

    /// Takes what was typed; answers what is to be passed on, and whether the keys were complete.
    pub fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte != self.keys[self.held] {
                passed.extend_from_slice(&self.keys[..self.held]);
                self.held = 0;
            }
            if byte == self.keys[self.held] {
                self.held += 1;
            } else {
                passed.push(byte);
            }
            if self.held == self.keys.len() {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watcher(keys: &str) -> Watcher {
        Watcher::new(keys.parse().unwrap())
    }

    #[test]
    fn keys_have_names() {
        assert_eq!(DEFAULT.parse::<DetachKeys>().unwrap().0, [16, 17]);
        assert_eq!("ctrl-@,a,ctrl-\\".parse::<DetachKeys>().unwrap().0, [0, b'a', 28]);
        for bad in ["ctrl-", "ctrl-1", "ab", "ctrl-p,,q", "strg-p"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_nothing_else_is_lost() {
        let mut keys = watcher(DEFAULT);
        assert_eq!(keys.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.pass(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.pass(b"\x10"), (Vec::new(), false));
        assert_eq!(keys.pass(b"\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.pass(b"\x11"), (Vec::new(), true));
        assert_eq!(watcher("").pass(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
