//! Tar on its way out.

use std::io::{self, Read, Write};

use moat_tar_header::{BLOCK, Block, checksum, padding};

use super::entry::{Entry, Kind};
use super::header::{self, USTAR};
use super::pax;

/// Writes an archive: in ustar headers what fits there, and the rest in PAX records.
pub struct Writer<W>(W);

impl<W: Write> Writer<W> {
    /// Writes to `sink`.
    pub fn new(sink: W) -> Self {
        Self(sink)
    }

    /// Appends an entry. A file whose contents end early is filled up with zeros, because its size has been
    /// written.
    ///
    /// # Errors
    /// When the contents cannot be read, or the sink fails.
    pub fn append(&mut self, entry: &Entry, contents: &mut dyn Read) -> io::Result<()> {
        let (block, records) = describe(entry);
        if !records.is_empty() {
            let size = records.len() as u64;
            let (mut extension, _) = describe(&Entry { mode: 0o644, size, ..Entry::default() });
            header::NAME.put(&mut extension, b"PaxHeader");
            extension[header::TYPE] = b'x';
            self.0.write_all(&sealed(extension))?;
            self.0.write_all(&records)?;
            self.fill(padding(size))?;
        }
        self.0.write_all(&sealed(block))?;
        let copied = io::copy(&mut contents.take(entry.size), &mut self.0)?;
        self.fill(entry.size - copied + padding(entry.size))
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.fill(2 * BLOCK as u64)?;
        self.0.flush()?;
        Ok(self.0)
    }

    fn fill(&mut self, zeros: u64) -> io::Result<()> {
        io::copy(&mut io::repeat(0).take(zeros), &mut self.0).map(drop)
    }
}

/// The header of an entry, without its checksum, and the records of what does not fit in it.
fn describe(entry: &Entry) -> (Block, Vec<u8>) {
    let mut block = [0; BLOCK];
    let mut records = Vec::new();
    let mut field = |fits: bool, key: &str, value: &[u8]| {
        if !fits {
            pax::push(&mut records, key.as_bytes(), value);
        }
    };
    field(header::NAME.put(&mut block, &entry.path), "path", &entry.path);
    field(header::LINK.put(&mut block, &entry.link), "linkpath", &entry.link);
    header::MODE.put_number(&mut block, entry.mode.into());
    let number = |number: u64| number.to_string().into_bytes();
    for (place, key, value) in [
        (header::UID, "uid", u64::from(entry.uid)),
        (header::GID, "gid", u64::from(entry.gid)),
        (header::SIZE, "size", entry.size),
    ] {
        field(place.put_number(&mut block, value), key, &number(value));
    }
    let (seconds, nanoseconds) = entry.mtime;
    let fits = header::MTIME.put_number(&mut block, u64::try_from(seconds).unwrap_or(u64::MAX));
    field(fits && nanoseconds == 0, "mtime", pax::time(entry.mtime).as_bytes());
    block[header::TYPE] = match entry.kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    header::MAGIC.put(&mut block, USTAR);
    header::MAJOR.put_number(&mut block, entry.device.0.into());
    header::MINOR.put_number(&mut block, entry.device.1.into());
    for (name, value) in &entry.xattrs {
        pax::push(&mut records, &[pax::XATTR, name].concat(), value);
    }
    (block, records)
}

/// Adds the checksum to a header.
fn sealed(mut block: Block) -> Block {
    let sum = checksum(&block);
    header::CHECKSUM.put(&mut block, format!("{sum:06o}\0 ").as_bytes());
    block
}
