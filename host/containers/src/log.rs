//! A container's log: what its process wrote, line by line, bounded on disk.
//!
//! A log file is a run of records, each a header and the bytes as they were written:
//!
//! ```text
//! offset  size  field
//!      0     8  when, nanoseconds since 1970, little-endian
//!      8     4  length of the bytes that follow, at most MAX_LINE
//!     12     1  stream: 1 stdout, 2 stderr
//!     13     3  zero
//! ```
//!
//! A record holds a line with its newline, or a part of one that was longer than [`MAX_LINE`] or that the process has
//! not finished. A crash can only tear the last record; a reader stops there and the next writer cuts it off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
pub use moat_protocol::output::Source;

use super::config::LogLimits;
use crate::Directory;

/// The longest record's bytes; longer lines are split.
pub const MAX_LINE: usize = 16 << 10;

/// The bounds of a log when nothing else is said: 30 MiB in all.
pub const DEFAULT_LIMITS: LogLimits = LogLimits { max_size: 10 << 20, max_files: 3 };

/// The most files that a log can have.
pub const MAX_FILES: usize = 1000;

const HEADER: usize = 16;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub time: Timestamp,
    /// Where it came from.
    pub source: Source,
    /// The bytes, with the newline if there was one.
    pub line: Vec<u8>,
}

/// The newest file of a container's log.
pub fn path(directory: &Directory) -> PathBuf {
    file(directory, 0)
}

fn file(directory: &Directory, generation: usize) -> PathBuf {
    match generation {
        0 => directory.path().join("log"),
        n => directory.path().join(format!("log.{n}")),
    }
}

/// Writes a container's log. There is one writer at a time: the monitor.
pub struct Writer {
    directory: Directory,
    limits: LogLimits,
    file: File,
    size: u64,
    partial: [Vec<u8>; 2],
    /// Records that were not written yet: a chunk of many short lines costs one system call.
    ready: Vec<u8>,
}

/// How much memory for records is kept between two writes, in bytes.
const KEPT: usize = 32 << 10;

impl Writer {
    /// Opens the log for appending.
    ///
    /// # Errors
    /// When the file cannot be opened or a torn record cannot be cut off.
    pub fn open(directory: &Directory, limits: LogLimits) -> io::Result<Self> {
        let path = file(directory, 0);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let size = intact_length(&path)?;
        file.set_len(size)?;
        let directory = directory.clone();
        Ok(Self { directory, limits, file, size, partial: [Vec::new(), Vec::new()], ready: Vec::new() })
    }

    /// Adds output. Whole lines become records at once, the rest when it is finished, too long, or [`Writer::finish`]ed.
    ///
    /// # Errors
    /// When the disk is full or fails; what was not written is dropped.
    pub fn write(&mut self, source: Source, mut bytes: &[u8]) -> io::Result<()> {
        let now = Timestamp::now();
        while !bytes.is_empty() {
            let room = MAX_LINE - self.partial[index(source)].len();
            let line = bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1);
            let (taken, rest) = bytes.split_at(line.min(room));
            bytes = rest;
            self.partial[index(source)].extend_from_slice(taken);
            if taken.ends_with(b"\n") || self.partial[index(source)].len() == MAX_LINE {
                self.record(source, now)?;
            }
        }
        self.flush()
    }

    /// Writes what is left of unfinished lines.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(&mut self) -> io::Result<()> {
        for source in [Source::Stdout, Source::Stderr] {
            if !self.partial[index(source)].is_empty() {
                self.record(source, Timestamp::now())?;
            }
        }
        self.flush()
    }

    fn record(&mut self, source: Source, now: Timestamp) -> io::Result<()> {
        let mut line = std::mem::take(&mut self.partial[index(source)]);
        let length = (HEADER + line.len()) as u64;
        if self.size + self.ready.len() as u64 + length > self.limits.max_size {
            self.flush()?;
            self.rotate()?;
        }
        let nanoseconds = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        self.ready.extend_from_slice(&nanoseconds.to_le_bytes());
        // A line is at most MAX_LINE bytes long.
        self.ready.extend_from_slice(&(line.len() as u32).to_le_bytes());
        self.ready.extend_from_slice(&[source as u8, 0, 0, 0]);
        self.ready.extend_from_slice(&line);
        // Its memory serves the next line.
        line.clear();
        self.partial[index(source)] = line;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.ready);
        match &written {
            Ok(()) => self.size += self.ready.len() as u64,
            // A full disk must not leave half a record in the middle of the file.
            Err(_) => drop(self.file.set_len(self.size)),
        }
        self.ready.clear();
        self.ready.shrink_to(KEPT);
        written
    }

    fn rotate(&mut self) -> io::Result<()> {
        for generation in (0..self.limits.max_files.saturating_sub(1)).rev() {
            match fs::rename(file(&self.directory, generation), file(&self.directory, generation + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        self.file = OpenOptions::new()
            .append(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(file(&self.directory, 0))?;
        if self.limits.max_files <= 1 {
            self.file.set_len(0)?;
        }
        self.size = 0;
        Ok(())
    }
}

fn index(source: Source) -> usize {
    match source {
        Source::Stdout => 0,
        Source::Stderr => 1,
    }
}

/// How much of a log file is whole records.
fn intact_length(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut length = 0;
    while let Some(record) = read_record(&mut reader)? {
        length += (HEADER + record.line.len()) as u64;
    }
    Ok(length)
}

/// The next record, or nothing at the end or before a torn one.
fn read_record(reader: &mut impl Read) -> io::Result<Option<Record>> {
    let mut header = [0; HEADER];
    if !fill(reader, &mut header)? {
        return Ok(None);
    }
    let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, source, ..] = header;
    let nanoseconds = i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let source = match source {
        1 => Source::Stdout,
        2 => Source::Stderr,
        _ => return Ok(None),
    };
    let Ok(time) = Timestamp::from_nanosecond(i128::from(nanoseconds)) else { return Ok(None) };
    if length > MAX_LINE {
        return Ok(None);
    }
    let mut line = vec![0; length];
    Ok(fill(reader, &mut line)?.then_some(Record { time, source, line }))
}

/// Fills `buffer`, or tells that the input ended before.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Reads a container's log from the oldest record on, and follows it as it grows and rotates.
pub struct Reader {
    directory: Directory,
    older: Vec<File>,
    current: Option<Position>,
}

/// A place in a log file.
struct Position {
    file: File,
    /// Where in the file the buffer begins.
    offset: u64,
    /// What was read; of it, `begin..end` was not given out yet.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Reader {
    /// Opens the log at its beginning. A container that never wrote has an empty log.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn open(directory: &Directory) -> io::Result<Self> {
        // From the newest to the oldest: a rotation meanwhile shows a file twice rather than not at all.
        let mut files: Vec<File> = Vec::new();
        for generation in 0..MAX_FILES {
            match File::open(file(directory, generation)) {
                Ok(file) if !same_file(files.last(), &file)? => files.push(file),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(e),
            }
        }
        Ok(Self { directory: directory.clone(), older: files, current: None })
    }

    /// The next record, or nothing when there is none yet.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Record>> {
        loop {
            if let Some(position) = &mut self.current
                && let Some(record) = position.read()?
            {
                return Ok(Some(record));
            }
            let Some(file) = self.following()? else { return Ok(None) };
            self.current = Some(Position::new(file));
        }
    }

    /// The file to go on with when the current one has no more.
    fn following(&mut self) -> io::Result<Option<File>> {
        if let Some(file) = self.older.pop() {
            return Ok(Some(file));
        }
        // After a rotation the current file is log.1 and the new one is log; it may even be further back.
        let Some(current) = &self.current else { return open_if_there(&file(&self.directory, 0)) };
        let mut newer = None;
        for generation in 0..MAX_FILES {
            let Some(candidate) = open_if_there(&file(&self.directory, generation))? else { break };
            if same_file(Some(&current.file), &candidate)? {
                return Ok(newer);
            }
            newer = Some(candidate);
        }
        // The current file was rotated away: the oldest that is left comes next.
        Ok(newer)
    }
}

impl Position {
    fn new(file: File) -> Self {
        Self { file, offset: 0, buffer: vec![0; HEADER + MAX_LINE], begin: 0, end: 0 }
    }

    /// The next whole record. What is there of an unfinished one stays until there is more of it.
    fn read(&mut self) -> io::Result<Option<Record>> {
        loop {
            if let Some(record) = read_record(&mut &self.buffer[self.begin..self.end])? {
                self.begin += HEADER + record.line.len();
                return Ok(Some(record));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads on; tells whether there was more. The largest record fits into the buffer.
    fn fill(&mut self) -> io::Result<bool> {
        use std::os::unix::fs::FileExt;
        self.buffer.copy_within(self.begin..self.end, 0);
        self.offset += self.begin as u64;
        self.end -= self.begin;
        self.begin = 0;
        loop {
            match self.file.read_at(&mut self.buffer[self.end..], self.offset + self.end as u64) {
                Ok(0) if self.file.metadata()?.len() < self.offset + self.end as u64 => {
                    // A log of one file begins anew when it is full.
                    (self.offset, self.end) = (0, 0);
                }
                Ok(length) => {
                    self.end += length;
                    return Ok(length > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn same_file(a: Option<&File>, b: &File) -> io::Result<bool> {
    let Some(a) = a else { return Ok(false) };
    let (a, b) = (a.metadata()?, b.metadata()?);
    Ok(a.ino() == b.ino() && a.dev() == b.dev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_records::id::ContainerId;
    use moat_records::root::Root;

    fn directory() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let directory = Directory::of(&root, &ContainerId::random().unwrap());
        fs::create_dir(directory.path()).unwrap();
        (temporary, directory)
    }

    fn lines(reader: &mut Reader) -> Vec<(Source, Vec<u8>)> {
        std::iter::from_fn(|| reader.read().unwrap()).map(|record| (record.source, record.line)).collect()
    }

    #[test]
    fn lines_are_kept_whole_and_apart() {
        let (_temporary, directory) = directory();
        let mut writer = Writer::open(&directory, DEFAULT_LIMITS).unwrap();
        writer.write(Source::Stdout, b"one\ntw").unwrap();
        writer.write(Source::Stderr, b"\xff\x00\n").unwrap();
        writer.write(Source::Stdout, b"o\nrest").unwrap();
        writer.finish().unwrap();
        let expected = [
            (Source::Stdout, b"one\n".to_vec()),
            (Source::Stderr, b"\xff\x00\n".to_vec()),
            (Source::Stdout, b"two\n".to_vec()),
            (Source::Stdout, b"rest".to_vec()),
        ];
        assert_eq!(lines(&mut Reader::open(&directory).unwrap()), expected);
    }

    #[test]
    fn a_long_line_is_split_and_nothing_is_lost() {
        let (_temporary, directory) = directory();
        let long: Vec<u8> = (0..3 * MAX_LINE + 5).map(|i| b'a' + (i % 26) as u8).collect();
        let mut writer = Writer::open(&directory, DEFAULT_LIMITS).unwrap();
        writer.write(Source::Stdout, &long).unwrap();
        writer.finish().unwrap();
        let read = lines(&mut Reader::open(&directory).unwrap());
        assert_eq!(read.len(), 4);
        assert_eq!(read.into_iter().flat_map(|(_, line)| line).collect::<Vec<u8>>(), long);
    }

    #[test]
    fn a_flood_is_bounded_and_a_follower_sees_every_line() {
        const LINES: usize = 2 * DEFAULT_LIMITS.max_files * (DEFAULT_LIMITS.max_size as usize) / 1000;
        let (_temporary, directory) = directory();
        let mut writer = Writer::open(&directory, DEFAULT_LIMITS).unwrap();
        let mut follower = Reader::open(&directory).unwrap();
        let line = [b'x'; 1000];
        let mut seen = 0;
        for i in 0..LINES {
            writer.write(Source::Stdout, &line[..990]).unwrap();
            writer.write(Source::Stdout, format!("{i:09}\n").as_bytes()).unwrap();
            if i % 1000 == 0 {
                seen += lines(&mut follower).len();
            }
        }
        seen += lines(&mut follower).len();
        assert_eq!(seen, LINES);
        let total: u64 = (0..=DEFAULT_LIMITS.max_files)
            .filter_map(|n| fs::metadata(file(&directory, n)).ok())
            .map(|m| m.len())
            .sum();
        assert!(total <= DEFAULT_LIMITS.max_files as u64 * DEFAULT_LIMITS.max_size, "{total}");
    }

    #[test]
    fn a_torn_record_is_cut_off() {
        let (_temporary, directory) = directory();
        let mut writer = Writer::open(&directory, DEFAULT_LIMITS).unwrap();
        writer.write(Source::Stdout, b"whole\n").unwrap();
        writer.write(Source::Stdout, b"torn\n").unwrap();
        drop(writer);
        let log = OpenOptions::new().write(true).open(file(&directory, 0)).unwrap();
        log.set_len(log.metadata().unwrap().len() - 2).unwrap();
        assert_eq!(lines(&mut Reader::open(&directory).unwrap()).len(), 1);
        Writer::open(&directory, DEFAULT_LIMITS).unwrap().write(Source::Stderr, b"next\n").unwrap();
        let expected = [(Source::Stdout, b"whole\n".to_vec()), (Source::Stderr, b"next\n".to_vec())];
        assert_eq!(lines(&mut Reader::open(&directory).unwrap()), expected);
    }
}
