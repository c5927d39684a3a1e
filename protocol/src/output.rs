//! How stdout and stderr share one stream: with the header of Docker's attach streams, so that a client of Docker's API
//! can read what the guest wrote.
//!
//! ```text
//! byte 0       1 stdout, 2 stderr
//! bytes 1..4   zero
//! bytes 4..8   how many bytes follow, big-endian
//! ```

use thiserror::Error;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// The size of a header in bytes.
pub const OUTPUT_HEADER: usize = 8;

/// The most bytes that follow one header: a pipe's capacity.
pub const MAX_OUTPUT: usize = 64 << 10;

/// A header that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the output stream has a damaged header: {0:02x?}")]
pub struct BadOutput([u8; OUTPUT_HEADER]);

/// The header of `length` bytes from `source`; `length` is at most [`MAX_OUTPUT`].
pub fn header(source: Source, length: usize) -> [u8; OUTPUT_HEADER] {
    debug_assert!(length <= MAX_OUTPUT);
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [source as u8, 0, 0, 0, a, b, c, d]
}

/// Reads a header: the source of the bytes that follow, and how many they are.
///
/// # Errors
/// When the header names no stream or announces more than [`MAX_OUTPUT`].
pub fn parse(header: [u8; OUTPUT_HEADER]) -> Result<(Source, usize), BadOutput> {
    let [source, 0, 0, 0, a, b, c, d] = header else { return Err(BadOutput(header)) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let source = match source {
        1 => Source::Stdout,
        2 => Source::Stderr,
        _ => return Err(BadOutput(header)),
    };
    if length > MAX_OUTPUT { Err(BadOutput(header)) } else { Ok((source, length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive() {
        for (source, length) in [(Source::Stdout, 0), (Source::Stderr, 1), (Source::Stdout, MAX_OUTPUT)] {
            assert_eq!(parse(header(source, length)), Ok((source, length)));
        }
    }

    #[test]
    fn damaged_headers_are_refused() {
        for bad in [
            [0, 0, 0, 0, 0, 0, 0, 1],
            [3, 0, 0, 0, 0, 0, 0, 1],
            [1, 1, 0, 0, 0, 0, 0, 1],
            [1, 0, 0, 0, 0, 1, 0, 1],
            [2, 0, 0, 0, 255, 255, 255, 255],
        ] {
            assert_eq!(parse(bad), Err(BadOutput(bad)), "{bad:?}");
        }
    }
}
