//! Records of PAX extended headers (POSIX.1-2017, pax, "pax Extended Header").

use std::collections::BTreeMap;

use crate::error::Problem;
use crate::limits;
use crate::tar::number::{self, Time};
use crate::tar::sparse::PaxSparse;

/// An extended attribute's name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// The key under which tar implementations keep extended attributes. Those of others (`LIBARCHIVE.xattr.`, access control
/// lists as text in `SCHILY.acl.`) are ignored, as Docker, containerd and umoci ignore them.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the extended header of one entry says; what it does not say is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link_path: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    /// Sorted by name, so the order in the header leaves no trace in the image.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: PaxSparse,
}

impl Pax {
    /// Reads all records. An empty value means the key is not set, and the last of several counts.
    pub fn parse(data: &[u8]) -> Result<Self, Problem> {
        let mut pax = Self::default();
        for_each_record(data, |key, value| pax.record(key, value))?;
        Ok(pax)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        if let Some(name) = key.strip_prefix(XATTR) {
            return self.xattr(name, value);
        }
        let set = !value.is_empty();
        match key {
            b"path" => self.path = set.then(|| text(value, "path")).transpose()?,
            b"linkpath" => self.link_path = set.then(|| text(value, "link target")).transpose()?,
            b"size" => self.size = set.then(|| unsigned(value, "size (PAX)")).transpose()?,
            b"uid" => self.uid = set.then(|| unsigned(value, "uid (PAX)")).transpose()?,
            b"gid" => self.gid = set.then(|| unsigned(value, "gid (PAX)")).transpose()?,
            b"mtime" => {
                let time = || number::time(value).ok_or(Problem::Number("mtime (PAX)"));
                self.mtime = set.then(time).transpose()?;
            }
            _ => self.sparse.record(key, value)?,
        }
        Ok(())
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), Problem> {
        if name.is_empty() || name.contains(&0) {
            return Err(Problem::Pax("the name of an extended attribute is empty or contains a NUL byte"));
        }
        Problem::check(
            "the length of an attribute's name",
            name.len() as u64,
            limits::MAX_XATTR_NAME_LEN as u64,
        )?;
        Problem::check(
            "the length of an attribute's value",
            value.len() as u64,
            limits::MAX_XATTR_VALUE_LEN as u64,
        )?;
        if value.is_empty() {
            self.xattrs.remove(name);
        } else {
            self.xattrs.insert(name.to_vec(), value.to_vec());
        }
        Ok(())
    }
}

/// Looks through a global header. Docker and containerd ignore them, GNU tar applies them: what would change an entry's name
/// or data is refused, the rest ignored.
pub fn check_global(data: &[u8]) -> Result<(), Problem> {
    for_each_record(data, |key, _| {
        let decisive = matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.");
        if decisive { Err(Problem::GlobalPax(crate::error::printable(key))) } else { Ok(()) }
    })
}

/// Calls `each` with the key and value of every record: `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
fn for_each_record(
    mut data: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    while !data.is_empty() {
        let space = data.iter().position(|byte| *byte == b' ').ok_or(Problem::Pax("no length"))?;
        let digits = &data[..space];
        let length = if digits.iter().all(u8::is_ascii_digit) { number::decimal(digits) } else { None };
        let length =
            length.and_then(|length| usize::try_from(length).ok()).ok_or(Problem::Pax("no length"))?;
        if length <= space + 1 || length > data.len() {
            return Err(Problem::Pax("its length is out of range"));
        }
        let (record, rest) = data.split_at(length);
        let body = record[space + 1..].strip_suffix(b"\n").ok_or(Problem::Pax("no newline at its end"))?;
        let equals = body.iter().position(|byte| *byte == b'=').ok_or(Problem::Pax("no equals sign"))?;
        if equals == 0 {
            return Err(Problem::Pax("no key"));
        }
        each(&body[..equals], &body[equals + 1..])?;
        data = rest;
    }
    Ok(())
}

fn text(value: &[u8], what: &'static str) -> Result<Vec<u8>, Problem> {
    if value.contains(&0) { Err(Problem::Nul(what)) } else { Ok(value.to_vec()) }
}

fn unsigned(value: &[u8], name: &'static str) -> Result<u64, Problem> {
    number::decimal(value).and_then(|value| u64::try_from(value).ok()).ok_or(Problem::Number(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> String {
        let body = format!(" {key}={value}\n");
        let length =
            (body.len() + 1..).find(|length| length.to_string().len() + body.len() == *length).unwrap();
        format!("{length}{body}")
    }

    fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
        pairs.iter().map(|(key, value)| record(key, value)).collect::<String>().into_bytes()
    }

    #[test]
    fn the_last_of_several_counts_and_empty_means_unset() {
        let pairs = [
            ("path", "a"),
            ("size", "7"),
            ("size", "9"),
            ("path", "b"),
            ("uid", "5"),
            ("uid", ""),
            ("comment", ""),
        ];
        let pax = Pax::parse(&records(&pairs)).unwrap();
        assert_eq!((pax.path.as_deref(), pax.size, pax.uid), (Some(&b"b"[..]), Some(9), None));
    }

    #[test]
    fn attributes_are_sorted_and_may_hold_anything() {
        let pairs = [
            ("SCHILY.xattr.user.b", "1\n2=3\n"),
            ("SCHILY.xattr.user.a", "x"),
            ("SCHILY.xattr.user.c", "x"),
            ("SCHILY.xattr.user.c", ""),
        ];
        let pax = Pax::parse(&records(&pairs)).unwrap();
        let expected =
            [("user.a", "x"), ("user.b", "1\n2=3\n")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(pax.xattrs, expected.into());
    }

    #[test]
    fn many_attributes_cost_no_more_than_their_length() {
        // In falling order, where a sorted list would have moved all of them for each: 20 thousand million bytes.
        let mut header = String::new();
        for number in (0..40_000).rev() {
            header += &record(&format!("SCHILY.xattr.{number:05}"), "1");
        }
        assert!(header.len() < 2 << 20);
        assert_eq!(Pax::parse(header.as_bytes()).unwrap().xattrs.len(), 40_000);
    }

    #[test]
    fn malformed_records() {
        for bad in [
            "x",
            "7 a=b\n",
            "4 a=b\n",
            "0 a=b\n",
            "9999999999999999999999 a=b\n",
            "6 a=bc",
            "7 =abc\n",
            "7 abcd\n",
            "+6 a=b\n",
        ] {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for (key, value) in
            [("path", "a\0c"), ("size", "x"), ("size", "-1"), ("mtime", "now"), ("SCHILY.xattr.", "x")]
        {
            assert!(Pax::parse(&records(&[(key, value)])).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn global_headers() {
        assert_eq!(check_global(&records(&[("comment", "abcd"), ("mtime", "1")])), Ok(()));
        assert_eq!(check_global(&records(&[("size", "9")])), Err(Problem::GlobalPax("size".into())));
    }
}
