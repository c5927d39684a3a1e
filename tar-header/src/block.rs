//! Blocks, of which an archive consists.

/// The size of a block in bytes. A header is one block, and contents are filled up to whole ones.
pub const BLOCK: usize = 512;

/// A block, such as a header.
pub type Block = [u8; BLOCK];

/// How many bytes follow contents of `size` bytes up to the end of their last block.
pub fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

#[cfg(test)]
mod tests {
    use super::padding;

    #[test]
    fn contents_are_filled_up_to_whole_blocks() {
        for (size, expected) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (u64::MAX, 1)] {
            assert_eq!(padding(size), expected, "{size}");
        }
    }
}
