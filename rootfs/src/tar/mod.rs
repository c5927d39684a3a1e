//! Walks an uncompressed layer: headers are read, file data is skipped and stays where it is.
//!
//! The formats are ustar, PAX and GNU's. Where tar implementations differ the walk takes what Go's `archive/tar` takes, as
//! Docker, containerd and most builders are written with it; where they would disagree on which bytes belong to
//! which entry it refuses. In particular the size in an extended header always goes before the one in the header.

pub mod number;
pub mod pax;
pub mod sparse;
pub mod window;

use std::io::{Read, Seek};

use tar::{EntryType, Header};

use crate::error::{Error, Problem};
use crate::limits;
use number::Time;
use pax::{Pax, Xattr};
use sparse::{Extent, Form};
use window::{BLOCK, Window};

/// Where the fields of ustar and GNU headers are that the `tar` crate offers for one of the two only.
mod at {
    use std::ops::Range;
    pub const MAGIC: Range<usize> = 257..263;
    pub const MAJOR: Range<usize> = 329..337;
    pub const MINOR: Range<usize> = 337..345;
    pub const PREFIX: Range<usize> = 345..500;
    /// The archiver `star` has times in the rest of the prefix, and this mark at the end of the header.
    pub const STAR_PREFIX: Range<usize> = 345..476;
    pub const STAR_MARK: Range<usize> = 508..512;
}

/// One entry of a layer, as it stands there.
#[derive(Debug)]
pub struct Entry {
    /// Where its first header stands; for errors.
    pub position: u64,
    pub name: Vec<u8>,
    pub kind: Kind,
    pub metadata: Metadata,
}

/// What all types of entries have.
#[derive(Debug, Default)]
pub struct Metadata {
    /// Permissions and the three special bits.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// The type of an entry, with what only this type has.
#[derive(Debug)]
pub enum Kind {
    File(FileData),
    Directory,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// Where a file's data is.
#[derive(Debug)]
pub struct FileData {
    /// Byte offset in the layer, a multiple of the block size.
    pub offset: u64,
    /// Size of the file.
    pub size: u64,
    /// The runs of a sparse file; they are stored one after the other.
    pub map: Option<Vec<Extent>>,
}

/// The entries of one layer, in order.
pub struct Walker<'a, R> {
    pub window: Window<'a, R>,
    position: u64,
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Extra {
    /// Where the first of them stands.
    position: Option<u64>,
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a, R: Read + Seek> Walker<'a, R> {
    /// Starts at the beginning of `reader`; `layer` is its number for errors, from 1.
    pub fn new(reader: &'a mut R, layer: usize) -> Result<Self, Error> {
        Ok(Self { window: Window::new(reader, layer)?, position: 0 })
    }

    /// The next entry; `None` at the end of the archive, which is two zero blocks or the end of the layer.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut extra = Extra::default();
        loop {
            let position = self.position;
            let Some(header) = self.header()? else {
                return match extra.position {
                    Some(position) => Err(self.window.error(position, b"", Problem::Dangling)),
                    None => Ok(None),
                };
            };
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink => {
                    if kind != EntryType::XGlobalHeader {
                        extra.position.get_or_insert(position);
                    }
                    let data = self.special(position, &header)?;
                    extra.take(kind, data).map_err(|problem| self.window.error(position, b"", problem))?;
                }
                _ => {
                    let position = extra.position.unwrap_or(position);
                    return self.entry(position, &header, extra).map(Some);
                }
            }
        }
    }

    /// Reads the header at the current position and steps behind it.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let position = self.position;
        let Some(block) = self.window.block(position)? else { return Ok(None) };
        if block.iter().all(|byte| *byte == 0) {
            return match self.window.block(position + BLOCK)? {
                Some(second) if second.iter().any(|byte| *byte != 0) => {
                    Err(self.window.error(position, b"", Problem::LoneZeroBlock))
                }
                _ => Ok(None),
            };
        }
        let header = Header::from_byte_slice(block).clone();
        if !moat_tar_header::checksum_holds(header.as_bytes()) {
            return Err(self.window.error(position, b"", Problem::Checksum));
        }
        self.position += BLOCK;
        Ok(Some(header))
    }

    /// The data of a header that describes the next entry.
    fn special(&mut self, position: u64, header: &Header) -> Result<Vec<u8>, Error> {
        let length = number::unsigned(&header.as_old().size, "size").and_then(|length| {
            Problem::check("the length of an extended header", length, limits::MAX_SPECIAL_LEN)?;
            Ok(length)
        });
        let length = length.map_err(|problem| self.window.error(position, b"", problem))?;
        let start = self.position;
        self.skip(position, b"", length)?;
        let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
        self.window.read(start, &mut data)?;
        Ok(data)
    }

    /// Steps over `length` bytes of data and what fills their last block. The very end of a layer may lack that.
    fn skip(&mut self, position: u64, name: &[u8], length: u64) -> Result<(), Error> {
        let end = self.position.checked_add(length).filter(|end| *end <= self.window.length());
        let Some(end) = end else {
            let have = self.window.length().saturating_sub(self.position);
            return Err(self.window.error(position, name, Problem::Truncated(length.saturating_sub(have))));
        };
        self.position = end.next_multiple_of(BLOCK);
        Ok(())
    }

    fn entry(&mut self, position: u64, header: &Header, mut extra: Extra) -> Result<Entry, Error> {
        let pax = extra.pax.take().unwrap_or_default();
        let fields = extra
            .name(header, &pax)
            .and_then(|name| Ok((metadata(header, &pax)?, extra.link(header, &pax)?, name)));
        let (mut metadata, link, name) = fields.map_err(|problem| {
            let name = own_name(header);
            self.window.error(position, &name, problem)
        })?;
        let kind = self.kind(position, header, &pax, &name, link)?;
        metadata.xattrs = pax.xattrs.into_iter().collect();
        Ok(Entry { position, name, kind, metadata })
    }

    fn kind(
        &mut self,
        position: u64,
        header: &Header,
        pax: &Pax,
        name: &[u8],
        link: Vec<u8>,
    ) -> Result<Kind, Error> {
        let byte = header.as_old().linkflag[0];
        let device = || {
            let bytes = header.as_bytes();
            let field = |range, name, max| {
                let value = number::unsigned(&bytes[range], name)?;
                Problem::check(name, value, u64::from(max))?;
                u32::try_from(value).map_err(|_| Problem::Number(name))
            };
            let major = field(at::MAJOR, "the major device number", limits::MAX_DEVICE.0)?;
            Ok((major, field(at::MINOR, "the minor device number", limits::MAX_DEVICE.1)?))
        };
        let wrap = |window: &Window<'a, R>, problem| window.error(position, name, problem);
        match byte {
            // Archives from before ustar have no type for directories.
            0 if name.ends_with(b"/") => Ok(Kind::Directory),
            0 | b'0' | b'7' => self.file(position, header, pax, name),
            b'S' => self.old_sparse(position, header, pax, name),
            b'1' => Ok(Kind::Hardlink(link)),
            b'2' => Ok(Kind::Symlink(link)),
            b'3' => device()
                .map(|(major, minor)| Kind::CharDevice { major, minor })
                .map_err(|problem| wrap(&self.window, problem)),
            b'4' => device()
                .map(|(major, minor)| Kind::BlockDevice { major, minor })
                .map_err(|problem| wrap(&self.window, problem)),
            // A directory may have a size, which is a quota and no length of data (POSIX).
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
            other => Err(wrap(&self.window, Problem::Kind(char::from(other)))),
        }
    }

    fn file(&mut self, position: u64, header: &Header, pax: &Pax, name: &[u8]) -> Result<Kind, Error> {
        let stored = self.stored(position, header, pax, name)?;
        let offset = self.position;
        self.skip(position, name, stored)?;
        let form = pax.sparse.form().map_err(|problem| self.window.error(position, name, problem))?;
        let (extents, skipped) = match form {
            Form::None => return Ok(Kind::File(FileData { offset, size: stored, map: None })),
            Form::Header => {
                let extents = pax.sparse.extents();
                (extents.map_err(|problem| self.window.error(position, name, problem))?, 0)
            }
            Form::Data => sparse::in_data(&mut self.window, offset, stored)?,
        };
        let size = pax.sparse.file_size().unwrap_or(stored);
        self.sparse_file(
            position,
            name,
            &extents,
            FileData { offset: offset + skipped, size, map: None },
            stored - skipped,
        )
    }

    fn old_sparse(&mut self, position: u64, header: &Header, pax: &Pax, name: &[u8]) -> Result<Kind, Error> {
        let stored = self.stored(position, header, pax, name)?;
        let Some(gnu) = header.as_gnu() else {
            return Err(self.window.error(position, name, Problem::Sparse("not a GNU header")));
        };
        let (extents, offset) = sparse::old_gnu(&mut self.window, gnu, self.position)?;
        self.position = offset;
        self.skip(position, name, stored)?;
        let size = number::unsigned(&gnu.realsize, "real size");
        let size = size.map_err(|problem| self.window.error(position, name, problem))?;
        self.sparse_file(position, name, &extents, FileData { offset, size, map: None }, stored)
    }

    fn sparse_file(
        &self,
        position: u64,
        name: &[u8],
        extents: &[Extent],
        file: FileData,
        stored: u64,
    ) -> Result<Kind, Error> {
        let map = sparse::checked(extents, file.size, stored);
        let map = map.map_err(|problem| self.window.error(position, name, problem))?;
        Ok(Kind::File(FileData { map: Some(map), ..file }))
    }

    /// How many bytes of data follow the header.
    fn stored(&self, position: u64, header: &Header, pax: &Pax, name: &[u8]) -> Result<u64, Error> {
        let size = match pax.size {
            Some(size) => Ok(size),
            None => number::unsigned(&header.as_old().size, "size"),
        };
        size.map_err(|problem| self.window.error(position, name, problem))
    }
}

impl Extra {
    fn take(&mut self, kind: EntryType, data: Vec<u8>) -> Result<(), Problem> {
        match kind {
            EntryType::XGlobalHeader => pax::check_global(&data)?,
            EntryType::XHeader => self.pax = Some(Pax::parse(&data)?),
            EntryType::GNULongName => self.long_name = Some(until_nul(&data).to_vec()),
            _ => self.long_link = Some(until_nul(&data).to_vec()),
        }
        Ok(())
    }

    fn name(&mut self, header: &Header, pax: &Pax) -> Result<Vec<u8>, Problem> {
        if let Some(name) = &pax.sparse.name {
            return Ok(name.clone());
        }
        one_of(self.long_name.take(), &pax.path, "name").map(|name| name.unwrap_or_else(|| own_name(header)))
    }

    fn link(&mut self, header: &Header, pax: &Pax) -> Result<Vec<u8>, Problem> {
        let link = one_of(self.long_link.take(), &pax.link_path, "link target")?;
        Ok(link.unwrap_or_else(|| until_nul(&header.as_old().linkname).to_vec()))
    }
}

/// Go takes GNU's and GNU tar takes PAX's: only what both agree on is safe.
fn one_of(
    gnu: Option<Vec<u8>>,
    pax: &Option<Vec<u8>>,
    what: &'static str,
) -> Result<Option<Vec<u8>>, Problem> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != *pax => Err(Problem::TwoNames(what)),
        (None, Some(pax)) => Ok(Some(pax.clone())),
        (gnu, _) => Ok(gnu),
    }
}

/// The name in the header's own fields.
fn own_name(header: &Header) -> Vec<u8> {
    let bytes = header.as_bytes();
    let name = until_nul(&header.as_old().name);
    let prefix = match &bytes[at::MAGIC] {
        b"ustar\0" if &bytes[at::STAR_MARK] == b"tar\0" => until_nul(&bytes[at::STAR_PREFIX]),
        b"ustar\0" => until_nul(&bytes[at::PREFIX]),
        _ => b"",
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn metadata(header: &Header, pax: &Pax) -> Result<Metadata, Problem> {
    let old = header.as_old();
    let id = |pax: Option<u64>, bytes: &[u8], name: &'static str| {
        let value = pax.map_or_else(|| number::unsigned(bytes, name), Ok)?;
        Problem::check(name, value, u64::from(limits::MAX_ID))?;
        u32::try_from(value).map_err(|_| Problem::Number(name))
    };
    let mtime = match pax.mtime {
        Some(mtime) => mtime,
        None => Time { seconds: number::field(&old.mtime, "mtime")?, nanoseconds: 0 },
    };
    // Old archives have the file's type in the bits above.
    let mode = number::unsigned(&old.mode, "mode")? & 0o7777;
    Ok(Metadata {
        mode: u16::try_from(mode).unwrap_or_default(),
        uid: id(pax.uid, &old.uid, "uid")?,
        gid: id(pax.gid, &old.gid, "gid")?,
        mtime,
        xattrs: Vec::new(),
    })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
