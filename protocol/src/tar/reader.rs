//! Tar on its way in. The archive is not trusted.

use std::io::{self, Read};

use moat_tar_header::{BLOCK, Block, checksum_holds, padding};

use super::entry::{Entry, Kind};
use super::header::{self, USTAR};
use super::pax;

/// The most bytes that the records, or the long name, of one entry may take: enough for the largest attributes and
/// names that Linux has.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// The longest name in bytes that a system call takes.
const LONGEST_NAME: usize = 4095;

/// What can be wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It cannot be read.
    #[error("cannot read the archive: {0}")]
    Io(#[from] io::Error),
    /// It ends within an entry, or before the blocks of zeros.
    #[error("the archive is incomplete")]
    Incomplete,
    /// A header has a wrong checksum, or a field that is no number.
    #[error("the archive has a damaged header")]
    Header,
    /// PAX records are malformed, or have a value of the wrong type.
    #[error("the archive has damaged PAX records")]
    Records,
    /// More extensions than an entry can need.
    #[error("the archive has an extension of {0} bytes, over the limit of {LARGEST_EXTENSION}")]
    Extension(u64),
    /// A name that no file can have.
    #[error("the archive has a name of {0} bytes, or one with a zero byte")]
    Name(usize),
    /// An entry that is none of [`Kind`].
    #[error("the archive has an entry of the unsupported type {0:?}")]
    Type(char),
}

/// Reads an archive.
pub struct Reader<R> {
    source: R,
    /// How much is left of the current entry's contents, and of the padding behind them.
    contents: u64,
    padding: u64,
}

/// What extensions say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    records: Vec<u8>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        Self { source, contents: 0, padding: 0 }
    }

    /// The next entry; nothing at the end of the archive. The rest of the entry before is skipped.
    ///
    /// # Errors
    /// When the archive is damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.contents + self.padding)?;
            (self.contents, self.padding) = (0, 0);
            let Some(block) = self.block()? else { return Ok(None) };
            let size = header::SIZE.number(&block).ok_or(TarError::Header)?;
            match block[header::TYPE] {
                b'x' => extensions.records = self.extension(size)?,
                b'L' => extensions.long_name = Some(self.long_name(size)?),
                b'K' => extensions.long_link = Some(self.long_name(size)?),
                // Records about all entries hold only comments in the archives of today's programs.
                b'g' => self.expect(size)?,
                _ => return self.entry(&block, size, &extensions).map(Some),
            }
        }
    }

    /// Reads what follows the archive, up to `limit` bytes, so that the sender can write its last block.
    pub fn drain(mut self, limit: u64) {
        // The archive is complete, so an error no longer matters.
        let _ = io::copy(&mut self.source.by_ref().take(limit), &mut io::sink());
    }

    fn entry(&mut self, block: &Block, size: u64, extensions: &Extensions) -> Result<Entry, TarError> {
        let mut entry = basic(block)?;
        entry.path = extensions.long_name.clone().unwrap_or(entry.path);
        entry.link = extensions.long_link.clone().unwrap_or(entry.link);
        entry.size = size;
        for (key, value) in pax::parse(&extensions.records).ok_or(TarError::Records)? {
            apply(&mut entry, key, value)?;
        }
        for name in [&entry.path, &entry.link] {
            if name.len() > LONGEST_NAME || name.contains(&0) {
                return Err(TarError::Name(name.len()));
            }
        }
        // Before POSIX a directory was a file with a slash.
        if entry.kind == Kind::File && entry.path.ends_with(b"/") {
            entry.kind = Kind::Directory;
        }
        // Only files have contents. The sizes of other entries mean nothing.
        if entry.kind != Kind::File {
            entry.size = 0;
        }
        self.expect(entry.size)?;
        Ok(entry)
    }

    fn expect(&mut self, size: u64) -> Result<(), TarError> {
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(TarError::Header);
        }
        (self.contents, self.padding) = (size, padding(size));
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > LARGEST_EXTENSION {
            return Err(TarError::Extension(size));
        }
        self.expect(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(incomplete)?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(TarError::Incomplete) }
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.extension(size)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// The next header; nothing at the block of zeros that ends the archive.
    fn block(&mut self) -> Result<Option<Block>, TarError> {
        let mut block = [0; BLOCK];
        self.source.read_exact(&mut block).map_err(incomplete)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        if checksum_holds(&block) { Ok(Some(block)) } else { Err(TarError::Header) }
    }

    fn skip(&mut self, count: u64) -> Result<(), TarError> {
        let skipped = io::copy(&mut self.source.by_ref().take(count), &mut io::sink())?;
        if skipped == count { Ok(()) } else { Err(TarError::Incomplete) }
    }
}

/// The current entry's contents. An archive that is cut short within them is an error.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.contents).unwrap_or(usize::MAX));
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.contents -= count as u64;
        Ok(count)
    }
}

fn incomplete(error: io::Error) -> TarError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TarError::Incomplete,
        _ => TarError::Io(error),
    }
}

/// The entry that a header alone describes.
fn basic(block: &Block) -> Result<Entry, TarError> {
    let kind = match block[header::TYPE] {
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(TarError::Type(other.into())),
    };
    let mut path = header::NAME.text(block).to_vec();
    let prefix = header::PREFIX.text(block);
    // GNU's headers have other fields there.
    if header::MAGIC.of(block) == USTAR && !prefix.is_empty() {
        path = [prefix, b"/", &path].concat();
    }
    let number = |field: header::Field| field.number(block).ok_or(TarError::Header);
    let small = |field: header::Field| u32::try_from(number(field)?).map_err(|_| TarError::Header);
    Ok(Entry {
        kind,
        path,
        link: header::LINK.text(block).to_vec(),
        mode: small(header::MODE)? & 0o7777,
        uid: id(number(header::UID)?)?,
        gid: id(number(header::GID)?)?,
        size: 0,
        mtime: (i64::try_from(number(header::MTIME).unwrap_or(0)).map_err(|_| TarError::Header)?, 0),
        device: match kind {
            Kind::CharDevice | Kind::BlockDevice => (small(header::MAJOR)?, small(header::MINOR)?),
            _ => (0, 0),
        },
        xattrs: Vec::new(),
    })
}

/// A user or group id. The kernel takes the largest number for "unchanged", so it is refused.
fn id(number: u64) -> Result<u32, TarError> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX).ok_or(TarError::Header)
}

/// Applies a PAX record to an entry. An empty value undoes the record.
fn apply(entry: &mut Entry, key: &[u8], value: &[u8]) -> Result<(), TarError> {
    let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
    match key {
        b"path" if !value.is_empty() => entry.path = value.to_vec(),
        b"linkpath" if !value.is_empty() => entry.link = value.to_vec(),
        b"size" if !value.is_empty() => entry.size = number().ok_or(TarError::Records)?,
        b"uid" if !value.is_empty() => entry.uid = id(number().ok_or(TarError::Records)?)?,
        b"gid" if !value.is_empty() => entry.gid = id(number().ok_or(TarError::Records)?)?,
        b"mtime" if !value.is_empty() => entry.mtime = pax::parse_time(value).ok_or(TarError::Records)?,
        _ if key.starts_with(b"GNU.sparse.") => return Err(TarError::Type('S')),
        _ => {
            if let Some(name) = key.strip_prefix(pax::XATTR) {
                entry.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
