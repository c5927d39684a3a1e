//! How index and layers make up one disk.
//!
//! ```text
//! | index | layer 1, zeros to 512 | layer 2, zeros to 512 | ...
//! ```

/// The block size of the file system and the sector size of the disk: what tar aligns file data to.
pub const BLOCK_SIZE: u64 = 512;

/// Where the bytes of a segment come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The index.
    Index,
    /// An uncompressed layer; 0 is the lowest.
    Layer(usize),
}

/// A part of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// What stands here, from its first byte on.
    pub source: Source,
    /// Where on the disk, in bytes; a multiple of [`BLOCK_SIZE`].
    pub offset: u64,
    /// Bytes of the source; never 0.
    pub length: u64,
    /// The same with the zeros behind it up to a multiple of [`BLOCK_SIZE`].
    pub padded: u64,
}

/// The segments of a disk, in order and without gaps. A layer of no bytes has none.
pub fn segments(index_len: u64, layer_lens: &[u64]) -> Vec<Segment> {
    let layers = layer_lens.iter().enumerate().map(|(layer, length)| (Source::Layer(layer), *length));
    let parts = std::iter::once((Source::Index, index_len)).chain(layers).filter(|(_, length)| *length > 0);
    let mut offset = 0;
    let place = |(source, length): (Source, u64)| {
        let segment = Segment { source, offset, length, padded: length.next_multiple_of(BLOCK_SIZE) };
        offset += segment.padded;
        segment
    };
    parts.map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other() {
        let found = segments(1024, &[700, 0, 512]);
        let expected = [
            Segment { source: Source::Index, offset: 0, length: 1024, padded: 1024 },
            Segment { source: Source::Layer(0), offset: 1024, length: 700, padded: 1024 },
            Segment { source: Source::Layer(2), offset: 2048, length: 512, padded: 512 },
        ];
        assert_eq!(found, expected);
    }
}
