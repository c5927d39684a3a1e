//! The list of what a container has changed, as it comes from the guest.

use std::io::{BufRead, BufReader, Read};

use super::ArchiveError;

/// The longest path that is read, in bytes: what a system call takes, and then some for names that were made step by
/// step.
const MAX_PATH: u64 = 64 << 10;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is new.
    Added,
    /// It is not as the image has it.
    Changed,
    /// It is gone.
    Deleted,
}

impl Kind {
    /// Docker's letter for it.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// Reads the list to its end and tells each change to `tell`.
///
/// # Errors
/// When the list is malformed or breaks off, or `tell` fails.
pub fn read(
    source: impl Read,
    mut tell: impl FnMut(Kind, &[u8]) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let malformed = || ArchiveError::Rules("the guest sent a list of changes that makes no sense".to_owned());
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        source.by_ref().take(MAX_PATH).read_until(0, &mut line).map_err(ArchiveError::Stream)?;
        if line.is_empty() {
            return Ok(());
        }
        let (letter, path) = line.strip_suffix(&[0]).and_then(<[u8]>::split_first).ok_or_else(malformed)?;
        let kind = match letter {
            b'A' => Kind::Added,
            b'C' => Kind::Changed,
            b'D' => Kind::Deleted,
            _ => return Err(malformed()),
        };
        if !path.starts_with(b"/") {
            return Err(malformed());
        }
        tell(kind, path)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(list: &[u8]) -> Result<Vec<(char, Vec<u8>)>, ArchiveError> {
        let mut found = Vec::new();
        read(list, |kind, path| {
            found.push((kind.letter(), path.to_vec()));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(all(b"").unwrap(), []);
        let found = all(b"C/etc\0A/etc/new\nline\0D/\xff\0").unwrap();
        assert_eq!(
            found,
            [('C', b"/etc".to_vec()), ('A', b"/etc/new\nline".to_vec()), ('D', b"/\xff".to_vec())]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let endless = [b"A/".as_slice(), &[b'x'; 1 << 20]].concat();
        for list in [&b"A/x"[..], b"X/x\0", b"Ax\0", b"\0", &endless] {
            all(list).unwrap_err();
        }
    }
}
