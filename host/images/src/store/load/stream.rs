//! The archive's bytes as they come, and what takes compression off them.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::super::error::LoadError;
use super::super::limits::ZSTD_WINDOW_LOG;

/// How much is read at once, in bytes.
pub(in crate::store) const CHUNK: usize = 256 << 10;

/// How many bytes [`Compression::of`] wants to see.
pub(super) const MAGIC: usize = 8;

/// How bytes are compressed, going by how they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Compression {
    /// Not, as far as one can see.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// With a tool of this name, which Moat cannot undo.
    Unknown(&'static str),
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Unknown(tool) => tool,
        })
    }
}

impl Compression {
    /// Looks at the beginning of something.
    pub(in crate::store) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one to skip.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Unknown("xz"),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', ..] => Self::Unknown("bzip2"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Unknown("lz4"),
            _ => Self::None,
        }
    }

    /// A reader of what `reader` holds compressed in this way.
    pub(in crate::store) fn decoder<'a>(self, reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        match self {
            Self::None | Self::Unknown(_) => Ok(Box::new(reader)),
            Self::Gzip => Ok(Box::new(MultiGzDecoder::new(reader))),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(Box::new(decoder))
            }
        }
    }
}

/// The archive, with the compression around it taken off.
pub(super) struct Source<'a> {
    reader: Box<dyn Read + 'a>,
    /// How many bytes have been read as they came.
    input: Arc<AtomicU64>,
    /// Whether it was these that could not be read, rather than the compression.
    failed: Rc<Cell<bool>>,
}

/// Keeps a [`Source`]'s figures up to date.
struct Counted<R> {
    reader: R,
    input: Arc<AtomicU64>,
    failed: Rc<Cell<bool>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(buffer);
        match &result {
            Ok(n) => {
                self.input.fetch_add(*n as u64, Ordering::Relaxed);
            }
            Err(e) => self.failed.set(e.kind() != io::ErrorKind::Interrupted),
        }
        result
    }
}

impl<'a> Source<'a> {
    /// Looks at how `reader` begins.
    pub(super) fn open(reader: impl Read + 'a) -> Result<Self, LoadError> {
        let (input, failed) = (Arc::new(AtomicU64::new(0)), Rc::new(Cell::new(false)));
        let mut reader = Counted { reader, input: Arc::clone(&input), failed: Rc::clone(&failed) };
        let head = read_head(&mut reader).map_err(LoadError::Read)?;
        if head.is_empty() {
            return Err(LoadError::Empty);
        }
        let compression = Compression::of(&head);
        let whole = BufReader::with_capacity(CHUNK, Cursor::new(head).chain(reader));
        let reader = compression.decoder(whole).map_err(LoadError::Compression)?;
        Ok(Self { reader, input, failed })
    }

    /// The count of the bytes of the archive that have been read, as they came.
    pub(super) fn input(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.input)
    }

    /// Reads some bytes; none at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LoadError> {
        loop {
            match self.reader.read(buffer) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if self.failed.get() => return Err(LoadError::Read(e)),
                Err(e) => return Err(LoadError::Compression(e)),
            }
        }
    }

    /// Fills `buffer`, or as much of it as there are bytes.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, LoadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }
}

/// Reads as much as [`Compression::of`] wants to see, if there is as much.
pub(in crate::store) fn read_head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(MAGIC as u64).read_to_end(&mut head)?;
    Ok(head)
}
