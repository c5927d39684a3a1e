//! Archives that want out of the directory they are unpacked in.

use tar::{Builder, EntryType, Header};

fn entry(builder: &mut Builder<Vec<u8>>, name: &[u8], kind: EntryType, link: &str, data: &[u8]) {
    let mut header = Header::new_gnu();
    // The crate's own setters refuse such names.
    header.as_mut_bytes()[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o4777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    if !link.is_empty() {
        let field = &mut header.as_mut_bytes()[157..257];
        field[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_cksum();
    builder.append(&header, data).expect("in memory");
}

/// The archive called `name`; nothing for one without an end.
pub fn hostile(name: &str) -> Option<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let regular = EntryType::Regular;
    match name {
        "endless" => return None,
        "dotdot" => {
            entry(&mut tar, b"x/", EntryType::Directory, "", b"");
            entry(&mut tar, b"x/../../escaped", regular, "", b"out");
            entry(&mut tar, b"../escaped", regular, "", b"out");
        }
        "absolute" => entry(&mut tar, b"/tmp/moat-hostile-escaped", regular, "", b"out"),
        "symlink" => {
            entry(&mut tar, b"x", EntryType::Symlink, "..", b"");
            entry(&mut tar, b"x/escaped", regular, "", b"out");
        }
        "symlink-absolute" => {
            entry(&mut tar, b"x", EntryType::Symlink, "/tmp", b"");
            entry(&mut tar, b"x/moat-hostile-escaped", regular, "", b"out");
        }
        "hardlink" => {
            entry(&mut tar, b"x/", EntryType::Directory, "", b"");
            entry(&mut tar, b"x/link", EntryType::Link, "../victim", b"");
            entry(&mut tar, b"x/link", regular, "", b"overwritten");
        }
        "device" => {
            entry(&mut tar, b"x/", EntryType::Directory, "", b"");
            entry(&mut tar, b"x/disk", EntryType::Block, "", b"");
        }
        "cut" => {
            entry(&mut tar, b"x", regular, "", &[7; 4096]);
            let mut bytes = tar.into_inner().expect("in memory");
            bytes.truncate(2000);
            return Some(bytes);
        }
        "huge" => {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[..1].copy_from_slice(b"x");
            header.set_entry_type(regular);
            header.set_size(1 << 62);
            header.set_cksum();
            return Some(header.as_bytes().to_vec());
        }
        "pax" => {
            // A header that announces a gigabyte of attributes.
            let mut header = Header::new_ustar();
            header.as_mut_bytes()[..1].copy_from_slice(b"x");
            header.set_entry_type(EntryType::XHeader);
            header.set_size(1 << 30);
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend(std::iter::repeat_n(b'1', 64 << 20));
            return Some(bytes);
        }
        other => panic!("no such archive: {other}"),
    }
    Some(tar.into_inner().expect("in memory"))
}
