//! The checksum of a header: the sum of its bytes, with spaces in the place of the checksum's own field.

use std::ops::Range;

use crate::block::Block;
use crate::number::number;

/// The checksum's own field.
const FIELD: Range<usize> = 148..156;

/// The checksum of a header, as it is written: the sum of unsigned bytes.
pub fn checksum(block: &Block) -> u32 {
    summed(block).map(u32::from).sum()
}

/// Whether the checksum that a header has is right. Old programs summed signed bytes; that is right too.
pub fn checksum_holds(block: &Block) -> bool {
    let signed: i32 = summed(block).map(|byte| i32::from(byte.cast_signed())).sum();
    number(&block[FIELD]).is_some_and(|told| told == checksum(block).into() || told == signed.into())
}

/// The bytes that count.
fn summed(block: &Block) -> impl Iterator<Item = u8> {
    block.iter().enumerate().map(|(at, byte)| if FIELD.contains(&at) { b' ' } else { *byte })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BLOCK;

    fn with_checksum(mut block: Block, text: &str) -> Block {
        block[FIELD].copy_from_slice(format!("{text:\0<8}").as_bytes());
        block
    }

    #[test]
    fn the_own_field_counts_as_spaces() {
        assert_eq!(checksum(&[0; BLOCK]), 8 * u32::from(b' '));
        assert_eq!(checksum(&with_checksum([0; BLOCK], "7777777")), 8 * u32::from(b' '));
        assert_eq!(checksum(&[0xff; BLOCK]), 504 * 0xff + 8 * u32::from(b' '));
    }

    #[test]
    fn sums_of_signed_and_of_unsigned_bytes_hold() {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(b"na\xefv");
        let (unsigned, signed) = (checksum(&block), checksum(&block) - 256);
        assert!(checksum_holds(&with_checksum(block, &format!("{unsigned:06o}\0 "))));
        assert!(checksum_holds(&with_checksum(block, &format!("{signed:06o}\0 "))));
        assert!(!checksum_holds(&with_checksum(block, &format!("{:06o}\0 ", unsigned + 1))));
        assert!(!checksum_holds(&with_checksum(block, &format!("{:06o}\0 ", signed - 1))));
    }

    #[test]
    fn a_checksum_that_is_no_number_does_not_hold() {
        for text in ["", "junk", "00004 0", "+000400"] {
            assert!(!checksum_holds(&with_checksum([0; BLOCK], text)), "{text}");
        }
        assert!(checksum_holds(&with_checksum([0; BLOCK], "0000400")));
    }
}
