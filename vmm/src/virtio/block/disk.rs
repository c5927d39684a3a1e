//! What a disk reads and writes: a linear map of file segments, or one file.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::file::{self, Zero};
use crate::SECTOR_SIZE;
use crate::virtio::buffers::Span;

/// The contents of a disk.
pub enum Disk {
    /// See [`SegmentMap`].
    ReadOnly(SegmentMap),
    /// One file of a whole number of sectors, open for reading and writing.
    ReadWrite {
        /// The file.
        file: Arc<File>,
        /// Its length in bytes when the VM started. The size of the disk does not change.
        bytes: u64,
    },
}

/// Why a disk cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file's length cannot be found out.
    #[error("cannot look at the file: {0}")]
    Look(#[from] io::Error),
    /// A read-only disk without segments.
    #[error("a disk needs at least one segment")]
    Empty,
    /// A segment of no bytes.
    #[error("segment {0} is empty")]
    EmptySegment(usize),
    /// The disk would be longer than can be addressed.
    #[error("segment {0} ends behind what can be addressed")]
    Overflow(usize),
    /// The file does not have the segment's bytes.
    #[error("segment {index} needs {needed} bytes of its file, which has {actual}")]
    Short {
        /// Which segment.
        index: usize,
        /// Its end in the file.
        needed: u64,
        /// The file's length.
        actual: u64,
    },
    /// A writable disk whose file is empty or ends within a sector.
    #[error("the file has {0} bytes, which is not a positive number of 512-byte sectors")]
    Size(u64),
}

/// A segment as it is configured: bytes `offset..offset + length` of `file`.
pub struct Segment {
    /// Open for reading.
    pub file: Arc<File>,
    /// In bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

/// File segments one behind the other, each padded with zeros to a whole sector.
pub struct SegmentMap {
    /// Ordered by start; the first starts at 0 and each where the padding of the one before ends.
    segments: Vec<(u64, Segment)>,
    bytes: u64,
}

impl SegmentMap {
    /// Lays the segments out.
    ///
    /// # Errors
    /// When a segment is empty, or longer than its file.
    pub fn new(segments: Vec<Segment>) -> Result<Self, DiskError> {
        if segments.is_empty() {
            return Err(DiskError::Empty);
        }
        let mut map = Self { segments: Vec::with_capacity(segments.len()), bytes: 0 };
        for (index, segment) in segments.into_iter().enumerate() {
            if segment.length == 0 {
                return Err(DiskError::EmptySegment(index));
            }
            let needed = segment.offset.checked_add(segment.length).ok_or(DiskError::Overflow(index))?;
            let actual = segment.file.metadata()?.len();
            if actual < needed {
                return Err(DiskError::Short { index, needed, actual });
            }
            let end = segment
                .length
                .checked_next_multiple_of(SECTOR_SIZE)
                .and_then(|padded| map.bytes.checked_add(padded))
                .ok_or(DiskError::Overflow(index))?;
            map.segments.push((map.bytes, segment));
            map.bytes = end;
        }
        Ok(map)
    }

    /// Fills `span` from `position` on; the caller has checked that all of it is on the disk.
    fn read(&self, mut position: u64, mut span: Span<'_>) -> io::Result<()> {
        while !span.is_empty() {
            let index = self.segments.partition_point(|(start, _)| *start <= position);
            let (start, segment) = &self.segments[index - 1];
            let end = self.segments.get(index).map_or(self.bytes, |(next, _)| *next);
            let within = position - start;
            let count = if within < segment.length {
                let count = span.len().min(segment.length - within);
                file::read(&segment.file, segment.offset + within, span.take(count))?;
                count
            } else {
                let count = span.len().min(end.saturating_sub(position));
                if count == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                span.zero(count);
                count
            };
            position += count;
        }
        Ok(())
    }
}

impl Disk {
    /// A disk of one file.
    ///
    /// # Errors
    /// When it is not a whole number of sectors.
    pub fn read_write(file: Arc<File>) -> Result<Self, DiskError> {
        let bytes = file.metadata()?.len();
        if bytes == 0 || bytes % SECTOR_SIZE != 0 {
            return Err(DiskError::Size(bytes));
        }
        Ok(Self::ReadWrite { file, bytes })
    }

    /// The size in bytes, a multiple of [`SECTOR_SIZE`].
    pub fn bytes(&self) -> u64 {
        match self {
            Self::ReadOnly(map) => map.bytes,
            Self::ReadWrite { bytes, .. } => *bytes,
        }
    }

    /// The file that can be written, if there is one. Every change goes through this.
    fn writable(&self) -> io::Result<&File> {
        match self {
            Self::ReadOnly(_) => Err(ErrorKind::ReadOnlyFilesystem.into()),
            Self::ReadWrite { file, .. } => Ok(file),
        }
    }

    /// Whether nothing can be written.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly(_))
    }

    /// Fills `span` from `position` on, which the caller has checked against the size.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self, position: u64, span: Span<'_>) -> io::Result<()> {
        match self {
            Self::ReadOnly(map) => map.read(position, span),
            Self::ReadWrite { file, .. } => file::read(file, position, span),
        }
    }

    /// Writes `span` from `position` on, which the caller has checked against the size.
    ///
    /// # Errors
    /// `ReadOnlyFilesystem` for a read-only disk; else when the file cannot be written.
    pub fn write(&self, position: u64, span: Span<'_>) -> io::Result<()> {
        file::write(self.writable()?, position, span)
    }

    /// Makes a range read as zeros.
    ///
    /// # Errors
    /// As [`Disk::write`].
    pub fn zero(&self, position: u64, length: u64, how: Zero) -> io::Result<()> {
        file::zero(self.writable()?, position, length, how)
    }

    /// Returns when all that was written is on the host's disk.
    ///
    /// # Errors
    /// As [`Disk::write`].
    pub fn flush(&self) -> io::Result<()> {
        self.writable()?.sync_data()
    }
}
