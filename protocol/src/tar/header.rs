//! A header block: where its fields are.

use moat_tar_header::Block;

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

    /// Writes as many bytes as fit, and returns whether all did.
    pub fn put(self, block: &mut Block, bytes: &[u8]) -> bool {
        let length = bytes.len().min(self.1);
        block[self.0..self.0 + length].copy_from_slice(&bytes[..length]);
        length == bytes.len()
    }

    /// Writes a number in octal, or zero if it does not fit, and returns whether it fits.
    pub fn put_number(self, block: &mut Block, number: u64) -> bool {
        let digits = self.1 - 1;
        let fits = number >> (3 * digits) == 0;
        let text = format!("{:0digits$o}", if fits { number } else { 0 });
        self.put(block, text.as_bytes());
        fits
    }

    /// Reads a number. Nothing where there is none, or a negative one.
    pub fn number(self, block: &Block) -> Option<u64> {
        moat_tar_header::number(self.of(block)).and_then(|number| u64::try_from(number).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_tar_header::BLOCK;

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
            (b"\x0000000000644", Some(0o644)),
            (b"12\0junk\0\0\0\0\0", Some(0o12)),
            (b"12 4\0\0\0\0\0\0\0\0", None),
            (b"\t644\0\0\0\0\0\0\0\0", None),
            (b"\x81\0\0\0\0\0\0\0\0\0\0\0", None),
            (b"9\0\0\0\0\0\0\0\0\0\0\0", None),
        ] {
            block[SIZE.0..SIZE.0 + SIZE.1].copy_from_slice(bytes);
            assert_eq!(SIZE.number(&block), number, "{bytes:?}");
        }
    }
}
