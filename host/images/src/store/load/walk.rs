//! The members of the archive, one after the other, from a source that cannot seek.
//!
//! The walk is our own because the archive is hostile: names and extended headers are bounded before they are in
//! memory, a PAX size counts wherever it is given, and every inconsistency ends the walk with its place.

use std::io::{self, Read};

use moat_tar_header::checksum_holds;
use tar::{EntryType, Header};

use super::super::error::LoadError;
use super::super::limits::{MAX_EXTENDED_HEADER, MAX_MEMBER_NAME, MAX_PADDING};
use super::super::shorten::shorten;
use super::stream::{Compression, Source};

const BLOCK: usize = 512;

/// One member of the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name, as it is written.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file of this many bytes, which the walker can now read.
    File(u64),
    /// A symbolic link with its target, relative to the directory that it is in.
    Symlink(String),
    /// A hard link to another member.
    Hardlink(String),
    /// Something that no image needs: a directory, a device.
    Other,
}

/// Walks over an archive. As a reader, it reads the data of the member that was returned last.
pub(super) struct Walker<'a> {
    source: Source<'a>,
    /// Where the source is.
    position: u64,
    /// What is left of the member's data.
    data: u64,
    /// Zeros between that and the next header.
    padding: u64,
    /// The last member's name, for messages.
    last: String,
    /// Why reading the member's data failed; [`Read`] cannot say it.
    failure: Option<LoadError>,
}

/// What extended headers say about the next member.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, position: 0, data: 0, padding: 0, last: "the beginning".to_owned(), failure: None }
    }

    /// Why the archive could not be read on, if it could not.
    pub(super) fn take_failure(&mut self) -> Option<LoadError> {
        self.failure.take()
    }

    /// The next member, or nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, LoadError> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                self.drain()?;
                return Ok(None);
            };
            let own_size = self.number(&header.as_old().size)?;
            match header.entry_type() {
                kind @ (EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink) => {
                    // The size of an extended header is always its own.
                    let content = self.extended_header(own_size)?;
                    self.extend(&mut extended, kind, &content)?;
                }
                _ => {
                    let size = extended.size.unwrap_or(own_size);
                    return self.member(&header, size, extended).map(Some);
                }
            }
        }
    }

    fn member(&mut self, header: &Header, size: u64, extended: Extended) -> Result<Member, LoadError> {
        let name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = self.text(name)?;
        let link = extended.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let link = self.text(link.unwrap_or_default())?;
        self.last = format!("member {:?}", shorten(&name));
        let (kind, has_data) = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if !name.ends_with('/') => (Kind::File(size), true),
            EntryType::Link => (Kind::Hardlink(link), false),
            EntryType::Symlink => (Kind::Symlink(link), false),
            // Devices and directories have no data, even if their size field says so.
            EntryType::Char | EntryType::Block | EntryType::Directory | EntryType::Fifo => {
                (Kind::Other, false)
            }
            EntryType::GNUSparse => return Err(self.fault("a sparse member, which is not read".to_owned())),
            _ => (Kind::Other, true),
        };
        self.set_data(if has_data { size } else { 0 })?;
        Ok(Member { name, kind })
    }

    fn set_data(&mut self, size: u64) -> Result<(), LoadError> {
        let end = self.position.checked_add(size).filter(|&end| end <= i64::MAX as u64);
        let Some(end) = end else { return Err(self.fault(format!("a member of {size} bytes"))) };
        self.data = size;
        self.padding = end.next_multiple_of(BLOCK as u64) - end;
        Ok(())
    }

    /// The next header, or nothing at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, LoadError> {
        let mut header = Header::new_old();
        let first = self.position == 0;
        let length = self.source.fill(header.as_mut_bytes())?;
        self.position += length as u64;
        let block = header.as_bytes();
        match length {
            // Some writers leave the end mark out.
            0 if !first => Ok(None),
            0 => Err(LoadError::Empty),
            BLOCK if *block == [0; BLOCK] => Ok(None),
            BLOCK if checksum_holds(block) => Ok(Some(header)),
            _ if first => Err(match (Compression::of(block), length) {
                (Compression::Unknown(tool), _) => LoadError::UnknownCompression(tool),
                (_, BLOCK) => LoadError::NotTar,
                _ => LoadError::Truncated("its first header".to_owned()),
            }),
            BLOCK => Err(self.fault("a header's checksum is wrong".to_owned())),
            _ => Err(LoadError::Truncated(format!("the header after {}", self.last))),
        }
    }

    fn extended_header(&mut self, size: u64) -> Result<Vec<u8>, LoadError> {
        if size > MAX_EXTENDED_HEADER {
            return Err(
                self.fault(format!("an extended header of {size} bytes, of at most {MAX_EXTENDED_HEADER}"))
            );
        }
        self.set_data(size)?;
        let mut content = Vec::new();
        match self.read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(e) => Err(self.take_failure().unwrap_or(LoadError::Read(e))),
        }
    }

    fn extend(&self, extended: &mut Extended, kind: EntryType, content: &[u8]) -> Result<(), LoadError> {
        match kind {
            EntryType::GNULongName => extended.name = Some(until_nul(content)),
            EntryType::GNULongLink => extended.link = Some(until_nul(content)),
            EntryType::XHeader => self.extend_pax(extended, content)?,
            // What a global header says in practice is who wrote the archive.
            _ => {}
        }
        Ok(())
    }

    /// Records of the form `LENGTH KEY=VALUE\n`, where the length counts all of it.
    fn extend_pax(&self, extended: &mut Extended, mut content: &[u8]) -> Result<(), LoadError> {
        let fault = || self.fault("an extended header is malformed".to_owned());
        while !content.is_empty() {
            let digits = content.iter().position(|&b| b == b' ').ok_or_else(fault)?;
            let length = parse_decimal(&content[..digits]).ok_or_else(fault)?;
            let length =
                usize::try_from(length).ok().filter(|&length| length > digits + 1).ok_or_else(fault)?;
            let record =
                content.get(digits + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(fault)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or_else(fault)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => extended.name = Some(value.to_vec()),
                b"linkpath" => extended.link = Some(value.to_vec()),
                b"size" => extended.size = Some(parse_decimal(value).ok_or_else(fault)?),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(self.fault("a sparse member, which is not read".to_owned()));
                }
                _ => {}
            }
            content = &content[length..];
        }
        Ok(())
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String, LoadError> {
        if bytes.len() > MAX_MEMBER_NAME {
            return Err(self.fault(format!("a name of {} bytes, of at most {MAX_MEMBER_NAME}", bytes.len())));
        }
        String::from_utf8(bytes).map_err(|_| self.fault("a name that is not UTF-8".to_owned()))
    }

    /// A size field: octal digits, or base 256 with the top bit set.
    fn number(&self, field: &[u8]) -> Result<u64, LoadError> {
        let value = moat_tar_header::number(field).and_then(|value| u64::try_from(value).ok());
        value.ok_or_else(|| self.fault("a header's size is not a number".to_owned()))
    }

    fn fault(&self, reason: String) -> LoadError {
        LoadError::Header { offset: self.position, after: self.last.clone(), reason }
    }

    /// Skips what was not read of the last member.
    fn skip(&mut self) -> Result<(), LoadError> {
        let mut rest = std::mem::take(&mut self.data) + std::mem::take(&mut self.padding);
        let mut buffer = [0; 8 << 10];
        while rest > 0 {
            let most = rest.min(buffer.len() as u64) as usize;
            match self.source.read(&mut buffer[..most])? {
                0 => return Err(LoadError::Truncated(self.last.clone())),
                n => {
                    rest -= n as u64;
                    self.position += n as u64;
                }
            }
        }
        Ok(())
    }

    /// Reads what comes after the end mark, so that its writer is not stopped, and so that the checksum at the
    /// end of a compressed archive is looked at.
    fn drain(&mut self) -> Result<(), LoadError> {
        let mut buffer = [0; 8 << 10];
        let end = self.position + MAX_PADDING;
        while self.position < end {
            match self.source.read(&mut buffer)? {
                0 => break,
                n => self.position += n as u64,
            }
        }
        Ok(())
    }
}

impl Read for Walker<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.data.min(buffer.len() as u64) as usize;
        if most == 0 {
            return Ok(0);
        }
        let failure = match self.source.read(&mut buffer[..most]) {
            Ok(0) => LoadError::Truncated(self.last.clone()),
            Ok(n) => {
                self.data -= n as u64;
                self.position += n as u64;
                return Ok(n);
            }
            Err(e) => e,
        };
        self.failure = Some(failure);
        Err(io::Error::other("the archive cannot be read"))
    }
}

fn until_nul(field: &[u8]) -> Vec<u8> {
    field.split(|&b| b == 0).next().unwrap_or_default().to_vec()
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &b| match b {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}
