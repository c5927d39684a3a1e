//! Writes layers for the tests, header by header.
#![allow(dead_code)] // each test file uses a part

pub mod erofs;
pub mod mounted;
pub mod proof;

use std::ffi::OsStr;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use moat_rootfs::{Error, Problem, Tree};

/// A layer under construction.
#[derive(Default, Clone)]
pub struct Layer {
    bytes: Vec<u8>,
}

/// The fields of a header that tests change.
#[derive(Clone)]
pub struct Fields<'a> {
    pub kind: u8,
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub size: u64,
    pub device: (u32, u32),
    pub mtime: u64,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self { kind: b'0', name: b"", link: b"", mode: 0o644, size: 0, device: (0, 0), mtime: 1_700_000_000 }
    }
}

impl Layer {
    pub fn new() -> Self {
        Self::default()
    }

    /// The archive with its end.
    pub fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    /// The archive as it is.
    pub fn open(self) -> Vec<u8> {
        self.bytes
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn header(self, fields: &Fields<'_>) -> Self {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        let name = &fields.name[..fields.name.len().min(100)];
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..fields.link.len()].copy_from_slice(fields.link);
        old.linkflag[0] = fields.kind;
        header.set_mode(fields.mode);
        header.set_size(fields.size);
        header.set_mtime(fields.mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_device_major(fields.device.0).unwrap();
        header.set_device_minor(fields.device.1).unwrap();
        header.set_cksum();
        self.raw(header.as_bytes())
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        let fields = Fields { name: name.as_bytes(), size: data.len() as u64, ..Fields::default() };
        self.header(&fields).raw(data)
    }

    pub fn dir(self, name: &str) -> Self {
        self.header(&Fields { kind: b'5', name: name.as_bytes(), mode: 0o755, ..Fields::default() })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.header(&Fields {
            kind: b'2',
            name: name.as_bytes(),
            link: target.as_bytes(),
            ..Fields::default()
        })
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.header(&Fields {
            kind: b'1',
            name: name.as_bytes(),
            link: target.as_bytes(),
            ..Fields::default()
        })
    }

    pub fn device(self, name: &str, major: u32, minor: u32) -> Self {
        let fields =
            Fields { kind: b'3', name: name.as_bytes(), device: (major, minor), ..Fields::default() };
        self.header(&fields)
    }

    /// An extended header.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.special(b'x', &pax_records(records))
    }

    /// An entry whose path and link target may have any length and bytes, with more records for the extended header.
    pub fn long(self, fields: &Fields<'_>, records: &[(&str, &[u8])], data: &[u8]) -> Self {
        let mut all = vec![("path", fields.name)];
        all.extend((!fields.link.is_empty()).then_some(("linkpath", fields.link)));
        all.extend(records);
        let header = Fields { name: b"long", link: b"", size: data.len() as u64, ..fields.clone() };
        self.pax(&all).header(&header).raw(data)
    }

    /// A header of a type that describes the next entry.
    pub fn special(self, kind: u8, data: &[u8]) -> Self {
        self.header(&Fields { kind, name: b"special", size: data.len() as u64, ..Fields::default() })
            .raw(data)
    }
}

pub fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| length.to_string().len() + rest == *length).unwrap();
        all.extend_from_slice(format!("{length} {key}=").as_bytes());
        all.extend_from_slice(value);
        all.push(b'\n');
    }
    all
}

pub fn merge(layers: &[Vec<u8>]) -> Result<Tree, Error> {
    let mut readers: Vec<_> = layers.iter().map(Cursor::new).collect();
    Tree::from_layers(&mut readers)
}

pub fn dump(layers: &[Vec<u8>]) -> String {
    let mut text = String::new();
    merge(layers).unwrap().dump(&mut text).unwrap();
    text
}

/// The paths of a merged tree without their details.
pub fn paths(layers: &[Vec<u8>]) -> String {
    let names = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    dump(layers).lines().map(names).filter(|name| name != "/").collect::<Vec<_>>().join(" ")
}

pub fn problem(layers: &[Vec<u8>]) -> Problem {
    match merge(layers) {
        Err(Error::Entry { problem, .. }) => problem,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no error"),
    }
}

/// Index and layers behind each other.
pub fn disk(layers: &[Vec<u8>]) -> Vec<u8> {
    let index = merge(layers).unwrap().index().unwrap();
    let mut disk = index.bytes().to_vec();
    for layer in layers {
        disk.extend_from_slice(layer);
        disk.resize(disk.len().next_multiple_of(512), 0);
    }
    disk
}

/// Runs a command to its end; returns what it printed.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let message = OsStr::from_bytes(&output.stderr).to_string_lossy().into_owned();
    assert!(output.status.success(), "{command:?}: {message}");
    output.stdout
}
