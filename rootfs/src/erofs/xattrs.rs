//! The extended attributes behind an inode: a header, then entries with the rest of their names and their values.

use crate::erofs::format::{self, XattrEntry};
use crate::tar::pax::Xattr;

/// How many bytes a set of extended attributes takes behind an inode.
pub fn len(set: &[Xattr]) -> usize {
    let entry = |(name, value): &Xattr| {
        let (_, rest) = format::xattr_prefix(name)?;
        Some((XattrEntry::LEN + rest.len() + value.len()).next_multiple_of(XattrEntry::LEN))
    };
    let entries: usize = set.iter().filter_map(entry).sum();
    if entries == 0 { 0 } else { format::XATTR_HEADER_LEN + entries }
}

/// A set of extended attributes as it stands behind an inode.
pub fn bytes(set: &[Xattr]) -> Vec<u8> {
    let mut out = Vec::with_capacity(len(set));
    for (name, value) in set {
        let Some((prefix, rest)) = format::xattr_prefix(name) else { continue };
        if out.is_empty() {
            out.resize(format::XATTR_HEADER_LEN, 0);
        }
        let entry = XattrEntry {
            name_len: u8::try_from(rest.len()).unwrap_or_default(),
            prefix,
            value_len: u16::try_from(value.len()).unwrap_or_default(),
        };
        out.extend_from_slice(&entry.bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(XattrEntry::LEN), 0);
    }
    out
}

/// `i_xattr_icount`, the inverse of [`format::xattrs_len`].
pub fn count(length: usize) -> u16 {
    let entries = length.saturating_sub(format::XATTR_HEADER_LEN) / XattrEntry::LEN;
    if length == 0 { 0 } else { u16::try_from(1 + entries).unwrap_or_default() }
}

/// Reads a set back: each attribute's name and value, or nothing in place of the first entry that makes no sense.
pub fn parse(set: &[u8]) -> impl Iterator<Item = Option<(Vec<u8>, &[u8])>> {
    let mut rest = set.get(format::XATTR_HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let found = entry(rest);
        rest = found.as_ref().map_or(&[], |(_, _, after)| *after);
        Some(found.map(|(name, value, _)| (name, value)))
    })
}

/// The first attribute of `bytes`, and what follows it.
fn entry(bytes: &[u8]) -> Option<(Vec<u8>, &[u8], &[u8])> {
    let (entry, rest) = bytes.split_first_chunk()?;
    let entry = XattrEntry::parse(*entry);
    let (name_len, value_len) = (usize::from(entry.name_len), usize::from(entry.value_len));
    let after = rest.get((name_len + value_len).next_multiple_of(XattrEntry::LEN)..)?;
    let (name, rest) = rest.split_at_checked(name_len)?;
    Some((format::xattr_name(entry.prefix, name)?, rest.get(..value_len)?, after))
}
