//! Archives as the tests make and read them, with another implementation than the agent's.

use std::collections::BTreeMap;
use std::io::Read;

use tar::{Archive, Builder, EntryType, Header};

/// What an archive has in it, by name.
pub type Listing = BTreeMap<String, Item>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: EntryType,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub link: String,
    pub contents: Vec<u8>,
    /// The PAX records.
    pub records: BTreeMap<String, Vec<u8>>,
}

/// Reads an archive, which must not name anything twice.
pub fn list(bytes: &[u8]) -> Listing {
    let mut found = Listing::new();
    for entry in Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = text(&entry.path_bytes());
        let records = entry.pax_extensions().unwrap().into_iter().flatten().map(Result::unwrap);
        let records =
            records.map(|record| (record.key().unwrap().to_owned(), record.value_bytes().to_vec())).collect();
        let link = entry.link_name_bytes().map(|bytes| text(&bytes)).unwrap_or_default();
        let header = entry.header().clone();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        let item = Item {
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: header.mtime().unwrap(),
            link,
            contents,
            records,
        };
        assert!(found.insert(name.clone(), item).is_none(), "{name} is there twice");
    }
    found
}

/// The names in an archive, in its order.
pub fn names(bytes: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(bytes);
    let entries = archive.entries().unwrap();
    entries.map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned()).collect()
}

/// An archive in the making.
pub struct Making(Builder<Vec<u8>>);

impl Making {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub fn records(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub fn file(self, name: &str, mode: u32, contents: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, "", mode, contents)
    }

    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.entry(name, EntryType::Directory, "", mode, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, target, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Link, target, 0o644, b"")
    }

    /// Any entry. The name goes into the header as it is, which the library would not do with a bad one.
    pub fn entry(mut self, name: &str, kind: EntryType, target: &str, mode: u32, contents: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(5678);
        header.set_mtime(1_000_000_000);
        header.set_size(contents.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        self.0.append(&header, contents).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}
