//! Maps of sparse files in all forms GNU tar writes: the old one with its own entry type, and PAX 0.0, 0.1 and 1.0
//! (GNU tar manual, "Storing Sparse Files").

use std::io::{Read, Seek};

use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

use crate::error::{Error, Problem};
use crate::limits;
use crate::tar::number;
use crate::tar::window::{BLOCK, Window};

/// A run of data in a sparse file. What lies between runs reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// The `GNU.sparse.` records of one extended header.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PaxSparse {
    pub name: Option<Vec<u8>>,
    major: Option<Vec<u8>>,
    minor: Option<Vec<u8>>,
    size: Option<u64>,
    real_size: Option<u64>,
    /// The map of version 0.1; that of 0.0 comes as alternating offset and length records and ends up here too.
    numbers: Vec<u64>,
}

/// Where the map of a PAX sparse file is.
#[derive(Debug, PartialEq, Eq)]
pub enum Form {
    /// There is none: an ordinary file.
    None,
    /// In the extended header.
    Header,
    /// At the start of the data.
    Data,
}

impl PaxSparse {
    /// Takes a record if it is about sparse files; all others are ignored.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        let number = |value: &[u8]| {
            let number = number::decimal(value).and_then(|number| u64::try_from(number).ok());
            number.ok_or(Problem::Sparse("not a number"))
        };
        let Some(key) = key.strip_prefix(b"GNU.sparse.") else { return Ok(()) };
        if value.is_empty() {
            return Ok(());
        }
        match key {
            b"name" if value.contains(&0) => return Err(Problem::Nul("path")),
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = Some(value.to_vec()),
            b"minor" => self.minor = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"realsize" => self.real_size = Some(number(value)?),
            b"offset" | b"numbytes" => {
                let odd = key == b"numbytes";
                if odd != (self.numbers.len() % 2 == 1) {
                    return Err(Problem::Sparse("offsets and lengths do not alternate"));
                }
                self.numbers.push(number(value)?);
            }
            b"map" => {
                self.numbers = value.split(|byte| *byte == b',').map(number).collect::<Result<_, _>>()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Which form this is. A version that does not exist is refused: taken as an ordinary file, its content would be
    /// wrong.
    pub fn form(&self) -> Result<Form, Problem> {
        match (self.major.as_deref(), self.minor.as_deref()) {
            (None, None) if self.numbers.is_empty() => Ok(Form::None),
            (None, None) | (Some(b"0"), Some(b"0" | b"1")) => Ok(Form::Header),
            (Some(b"1"), Some(b"0")) => Ok(Form::Data),
            _ => Err(Problem::Sparse("unknown version")),
        }
    }

    /// The file's size, if it is there.
    pub fn file_size(&self) -> Option<u64> {
        self.size.or(self.real_size)
    }

    /// The map of a file of [`Form::Header`].
    pub fn extents(&self) -> Result<Vec<Extent>, Problem> {
        pairs(&self.numbers)
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Extent>, Problem> {
    let (pairs, rest) = numbers.as_chunks();
    if !rest.is_empty() {
        return Err(Problem::Sparse("an offset without a length"));
    }
    Ok(pairs.iter().map(|[offset, length]| Extent { offset: *offset, length: *length }).collect())
}

/// Checks a map against the file's size and the length of its stored data, joins runs that touch and leaves out empty ones.
pub fn checked(extents: &[Extent], size: u64, stored: u64) -> Result<Vec<Extent>, Problem> {
    Problem::check("the sparse file's size", size, limits::MAX_FILE_SIZE)?;
    Problem::check("the number of runs in a sparse file", extents.len() as u64, limits::MAX_EXTENTS as u64)?;
    let mut joined: Vec<Extent> = Vec::new();
    let (mut position, mut total) = (0u64, 0u64);
    for extent in extents {
        let end = extent.offset.checked_add(extent.length).filter(|end| *end <= size);
        let end = end.ok_or(Problem::Sparse("a run lies beyond the file's end"))?;
        if extent.offset < position {
            return Err(Problem::Sparse("runs overlap or are out of order"));
        }
        match joined.last_mut() {
            Some(last) if last.offset + last.length == extent.offset => last.length += extent.length,
            _ if extent.length > 0 => joined.push(*extent),
            _ => {}
        }
        position = end;
        total += extent.length;
    }
    if total != stored {
        return Err(Problem::Sparse("the runs are not as long as the stored data"));
    }
    Ok(joined)
}

/// The map of an old GNU sparse file, part of which may stand in blocks from `offset` on, and where those end.
pub fn old_gnu<R: Read + Seek>(
    window: &mut Window<'_, R>,
    header: &GnuHeader,
    mut offset: u64,
) -> Result<(Vec<Extent>, u64), Error> {
    let start = offset;
    let mut extents = Vec::new();
    let mut more = header.isextended[0] != 0;
    old_slots(&header.sparse, &mut extents).map_err(|problem| window.error(start, b"", problem))?;
    while more {
        let Some(block) = window.block(offset)? else {
            return Err(window.error(start, b"", Problem::Truncated(BLOCK)));
        };
        let mut extension = GnuExtSparseHeader::new();
        *extension.as_mut_bytes() = *block;
        offset += BLOCK;
        more = extension.isextended[0] != 0;
        old_slots(&extension.sparse, &mut extents)
            .and_then(|()| {
                Problem::check(
                    "the number of runs in a sparse file",
                    extents.len() as u64,
                    limits::MAX_EXTENTS as u64,
                )
            })
            .map_err(|problem| window.error(start, b"", problem))?;
    }
    Ok((extents, offset))
}

/// Reads slots up to the first unused one.
fn old_slots(slots: &[GnuSparseHeader], extents: &mut Vec<Extent>) -> Result<(), Problem> {
    for slot in slots.iter().take_while(|slot| slot.offset[0] != 0) {
        let offset = number::unsigned(&slot.offset, "sparse offset")?;
        let length = number::unsigned(&slot.numbytes, "sparse length")?;
        extents.push(Extent { offset, length });
    }
    Ok(())
}

/// The map at the start of the data of a PAX 1.0 sparse file: decimal numbers, one per line, filled up to a block.
/// Returns it and the length it takes.
pub fn in_data<R: Read + Seek>(
    window: &mut Window<'_, R>,
    start: u64,
    stored: u64,
) -> Result<(Vec<Extent>, u64), Error> {
    let mut map = Numbers::default();
    let mut length = 0;
    while !map.complete() {
        if length + BLOCK > stored {
            return Err(window.error(start, b"", Problem::Sparse("the map is longer than the data")));
        }
        let block = window.block(start + length)?.copied();
        length += BLOCK;
        let fed = block.ok_or(Problem::Truncated(BLOCK)).and_then(|block| map.feed(&block));
        fed.map_err(|problem| window.error(start, b"", problem))?;
    }
    let extents = pairs(&map.numbers[1..]).map_err(|problem| window.error(start, b"", problem))?;
    Ok((extents, length))
}

/// The numbers of a PAX 1.0 map as they come in: first the number of runs, then each run's offset and length.
#[derive(Default)]
struct Numbers {
    numbers: Vec<u64>,
    partial: Option<u64>,
}

impl Numbers {
    fn complete(&self) -> bool {
        self.numbers.first().is_some_and(|runs| self.numbers.len() as u64 == 1 + 2 * runs)
    }

    fn feed(&mut self, block: &[u8]) -> Result<(), Problem> {
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let value = self.partial.unwrap_or(0).checked_mul(10);
                    let value = value.and_then(|value| value.checked_add(u64::from(byte - b'0')));
                    self.partial = Some(value.ok_or(Problem::Sparse("a number is too large"))?);
                }
                b'\n' => {
                    self.numbers.push(self.partial.take().ok_or(Problem::Sparse("not a number"))?);
                    let runs = self.numbers[0];
                    Problem::check("the number of runs in a sparse file", runs, limits::MAX_EXTENTS as u64)?;
                    if self.complete() {
                        return Ok(());
                    }
                }
                _ => return Err(Problem::Sparse("not a number")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn maps_are_checked_and_joined() {
        let map = [extent(0, 512), extent(512, 100), extent(4096, 0), extent(5000, 10), extent(6000, 0)];
        assert_eq!(checked(&map, 6000, 622).unwrap(), [extent(0, 612), extent(5000, 10)]);
        assert!(checked(&map, 5999, 622).is_err(), "beyond the end");
        assert!(checked(&map, 6000, 623).is_err(), "more data than runs");
        assert!(checked(&[extent(10, 5), extent(14, 1)], 100, 6).is_err(), "overlap");
        assert!(checked(&[extent(u64::MAX, 5)], 100, 5).is_err(), "overflow");
        assert!(checked(&[], u64::MAX, 0).is_err(), "too large");
    }

    #[test]
    fn pax_forms() {
        let mut pax = PaxSparse::default();
        assert_eq!(pax.form(), Ok(Form::None));
        pax.record(b"GNU.sparse.offset", b"1").unwrap();
        assert!(pax.record(b"GNU.sparse.offset", b"1").is_err());
        pax.record(b"GNU.sparse.numbytes", b"2").unwrap();
        assert_eq!(pax.form(), Ok(Form::Header));
        assert_eq!(pax.extents().unwrap(), [extent(1, 2)]);
        pax.record(b"GNU.sparse.map", b"7,8,9").unwrap();
        assert!(pax.extents().is_err());
        pax.record(b"GNU.sparse.major", b"2").unwrap();
        assert!(pax.form().is_err());
    }
}
