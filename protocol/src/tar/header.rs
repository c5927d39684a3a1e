//! A header block: where its fields are, and how numbers are written in them.

use super::BLOCK;

/// A header block.
pub type Block = [u8; BLOCK];

/// A field: where it begins, and its length.
#[derive(Clone, Copy)]
pub struct Field(pub usize, pub usize);

pub const NAME: Field = Field(0, 100);
pub const MODE: Field = Field(100, 8);
pub const UID: Field = Field(108, 8);
pub const GID: Field = Field(116, 8);
pub const SIZE: Field = Field(124, 12);
pub const MTIME: Field = Field(136, 12);
pub const CHECKSUM: Field = Field(148, 8);
pub const TYPE: usize = 156;
pub const LINK: Field = Field(157, 100);
pub const MAGIC: Field = Field(257, 8);
pub const MAJOR: Field = Field(329, 8);
pub const MINOR: Field = Field(337, 8);
pub const PREFIX: Field = Field(345, 155);

/// The magic and version of POSIX.
pub const USTAR: &[u8; 8] = b"ustar\x0000";

impl Field {
    /// Its bytes.
    pub fn of(self, block: &Block) -> &[u8] {
        &block[self.0..self.0 + self.1]
    }

    /// Its bytes up to the first zero.
    pub fn text(self, block: &Block) -> &[u8] {
        let bytes = self.of(block);
        bytes.iter().position(|byte| *byte == 0).map_or(bytes, |end| &bytes[..end])
    }

    /// Writes as many bytes as fit, and says whether that is all.
    pub fn put(self, block: &mut Block, bytes: &[u8]) -> bool {
        let length = bytes.len().min(self.1);
        block[self.0..self.0 + length].copy_from_slice(&bytes[..length]);
        length == bytes.len()
    }

    /// Writes a number in octal, or zero where it does not fit, and says whether it did.
    pub fn put_number(self, block: &mut Block, number: u64) -> bool {
        let digits = self.1 - 1;
        let fits = number >> (3 * digits) == 0;
        let text = format!("{:0digits$o}", if fits { number } else { 0 });
        self.put(block, text.as_bytes());
        fits
    }

    /// Reads a number: octal, or GNU's big-endian with the top bit set. Nothing when it is neither, or negative.
    pub fn number(self, block: &Block) -> Option<u64> {
        let bytes = self.of(block);
        match bytes.split_first() {
            Some((0x80, rest)) => rest
                .iter()
                .try_fold(0u64, |number, byte| (number >> 56 == 0).then(|| number << 8 | u64::from(*byte))),
            _ => octal(self.text(block)),
        }
    }
}

fn octal(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    text.iter().try_fold(0u64, |number, byte| {
        (matches!(byte, b'0'..=b'7') && number >> 61 == 0).then(|| number << 3 | u64::from(byte - b'0'))
    })
}

/// The sum over a block, its own field taken as blanks: the one with unsigned bytes, and that of old programs that took
/// them as signed.
pub fn checksums(block: &Block) -> (u64, i64) {
    let sum = |range: std::ops::Range<usize>| {
        block[range].iter().fold((0, 0), |(unsigned, signed), byte| {
            (unsigned + u64::from(*byte), signed + i64::from(byte.cast_signed()))
        })
    };
    let (before, after) = (sum(0..CHECKSUM.0), sum(CHECKSUM.0 + CHECKSUM.1..BLOCK));
    let blanks = 8 * u64::from(b' ');
    (before.0 + after.0 + blanks, before.1 + after.1 + blanks.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        let mut block = [0; BLOCK];
        assert!(SIZE.put_number(&mut block, 0o77777777777));
        assert_eq!(SIZE.number(&block), Some(0o77777777777));
        assert!(!SIZE.put_number(&mut block, 1 << 33));
        assert_eq!(SIZE.number(&block), Some(0));
        for (bytes, number) in [
            (&b"  644 \0\0\0\0\0\0"[..], Some(0o644)),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(2 << 32)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"-1\0\0\0\0\0\0\0\0\0\0", None),
            (b"9\0\0\0\0\0\0\0\0\0\0\0", None),
        ] {
            block[SIZE.0..SIZE.0 + SIZE.1].copy_from_slice(bytes);
            assert_eq!(SIZE.number(&block), number, "{bytes:?}");
        }
    }
}
