//! Looks for the keys that leave a container's terminal without ending anything.

pub use moat_docker::detach_keys::{DEFAULT, DetachKeys};

/// Looks for the keys in what is typed.
pub struct Watcher {
    keys: Vec<u8>,
    /// How many of them were typed last, and held back.
    held: usize,
}

impl Watcher {
    /// Looks for `keys`.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys: keys.bytes().to_vec(), held: 0 }
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
