//! Positioned reading of a layer of which only the headers are wanted.

use std::io::{self, Read, Seek, SeekFrom};

use crate::error::{Error, Problem};

/// The block size of tar, and of the disk.
pub const BLOCK: u64 = 512;

/// How much is read at once where headers follow closely, as in a layer of many small files.
const NEAR: usize = 64 << 10;
/// How much is read at once after a jump over a file's data: the header, and those of a few small files behind it.
const FAR: usize = 4 << 10;

/// A window onto a layer that moves with the headers.
pub struct Window<'a, R> {
    reader: &'a mut R,
    /// The layer's number for errors, from 1.
    layer: usize,
    /// Length of the layer.
    length: u64,
    /// What is in `buffer` starts here.
    start: u64,
    buffer: Vec<u8>,
}

impl<'a, R: Read + Seek> Window<'a, R> {
    /// A window onto the whole of `reader`, wherever it stands now.
    pub fn new(reader: &'a mut R, layer: usize) -> Result<Self, Error> {
        let length =
            reader.seek(SeekFrom::End(0)).map_err(|source| Error::Read { layer, offset: 0, source })?;
        Ok(Self { reader, layer, length, start: 0, buffer: Vec::new() })
    }

    /// Length of the layer in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Wraps a problem with the entry whose header stands at `offset`.
    pub fn error(&self, offset: u64, name: &[u8], problem: Problem) -> Error {
        let entry = if name.is_empty() { format!("at byte {offset}") } else { crate::error::printable(name) };
        Error::Entry { layer: self.layer, entry, problem }
    }

    /// The block at `offset`; `None` at the layer's end.
    pub fn block(&mut self, offset: u64) -> Result<Option<&[u8; BLOCK as usize]>, Error> {
        if offset >= self.length {
            return Ok(None);
        }
        if self.length - offset < BLOCK {
            return Err(self.error(offset, b"", Problem::Truncated(BLOCK - (self.length - offset))));
        }
        if offset < self.start || offset + BLOCK > self.start + self.buffer.len() as u64 {
            self.fill(offset)?;
        }
        let at = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(at..).and_then(|rest| rest.first_chunk()))
    }

    fn fill(&mut self, offset: u64) -> Result<(), Error> {
        let end = self.start + self.buffer.len() as u64;
        let want = if offset >= self.start && offset < end + FAR as u64 { NEAR } else { FAR };
        let want = want.min(usize::try_from(self.length - offset).unwrap_or(NEAR));
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(want, 0);
        self.read(offset, &mut buffer)?;
        self.start = offset;
        self.buffer = buffer;
        Ok(())
    }

    /// Fills `into` with the bytes from `offset` on.
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let result: io::Result<()> = (|| {
            self.reader.seek(SeekFrom::Start(offset))?;
            self.reader.read_exact(into)
        })();
        result.map_err(|source| Error::Read { layer: self.layer, offset, source })
    }
}
