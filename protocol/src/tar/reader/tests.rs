use moat_tar_header::checksum;

use super::super::Writer;
use super::*;

fn round_trip(entry: &Entry, contents: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.append(entry, &mut &*contents).unwrap();
    writer.append(&Entry { path: b"next".to_vec(), ..Entry::default() }, &mut io::empty()).unwrap();
    let bytes = writer.finish().unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    assert_eq!(reader.next_entry().unwrap().unwrap(), *entry);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, contents);
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"next");
    assert!(reader.next_entry().unwrap().is_none());
    bytes
}

#[test]
fn everything_survives() {
    for length in [1, 99, 100, 101, 155, 256, 4095] {
        round_trip(&Entry { path: vec![b'n'; length], ..Entry::default() }, b"");
        let kind = Kind::Symlink;
        round_trip(&Entry { kind, path: b"l".to_vec(), link: vec![b't'; length], ..Entry::default() }, b"");
    }
    let entry = Entry {
        path: b"na\xff\nme".to_vec(),
        mode: 0o6755,
        uid: 3_000_000,
        gid: u32::MAX - 1,
        size: 513,
        mtime: (-5, 123),
        xattrs: vec![(b"user.a".to_vec(), b"\0\n=".to_vec()), (b"user.b".to_vec(), Vec::new())],
        ..Entry::default()
    };
    round_trip(&entry, &[9; 513]);
    let device = Entry { kind: Kind::BlockDevice, path: b"d".to_vec(), device: (259, 7), ..Entry::default() };
    round_trip(&device, b"");
}

#[test]
fn short_contents_are_filled_up() {
    let mut writer = Writer::new(Vec::new());
    writer.append(&Entry { path: b"f".to_vec(), size: 600, ..Entry::default() }, &mut &b"short"[..]).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes.len(), 512 + 1024 + 1024);
}

/// A header with anything in its fields.
fn block(name: &[u8], kind: u8, size: &[u8]) -> Vec<u8> {
    let mut block = [0; BLOCK];
    header::NAME.put(&mut block, name);
    header::SIZE.put(&mut block, size);
    block[header::TYPE] = kind;
    let sum = checksum(&block);
    header::CHECKSUM.put(&mut block, format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn error(bytes: &[u8]) -> TarError {
    let mut reader = Reader::new(bytes);
    loop {
        match reader.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is well"),
            Err(error) => return error,
        }
    }
}

#[test]
fn what_is_cut_short_is_incomplete() {
    let whole = round_trip(&Entry { path: vec![b'n'; 300], size: 700, ..Entry::default() }, &[1; 700]);
    // Up to the first block of zeros.
    for length in 0..whole.len() - 2 * BLOCK {
        assert!(matches!(error(&whole[..length]), TarError::Incomplete), "{length}");
    }
}

#[test]
fn what_would_take_memory_is_refused() {
    for kind in [b'x', b'L', b'K'] {
        assert!(matches!(error(&block(b"", kind, b"00010000001")), TarError::Extension(0o10000001)));
        assert!(matches!(
            error(&block(b"", kind, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")),
            TarError::Extension(_)
        ));
    }
    let mut long = block(b"", b'L', b"00004000000");
    long.extend(vec![b'a'; 0o4000000]);
    long.extend(block(b"x", b'0', b""));
    assert!(matches!(error(&long), TarError::Name(0o4000000)));
    assert!(matches!(
        error(&block(b"x", b'0', b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")),
        TarError::Header
    ));
}

#[test]
fn damage_is_noticed() {
    let good = block(b"name", b'0', b"");
    for at in 0..BLOCK {
        let mut bad = good.clone();
        bad[at] ^= 0x15;
        // What is left of the checksum's own padding means nothing.
        if !(154..156).contains(&at) {
            assert!(matches!(error(&bad), TarError::Header), "{at}");
        }
    }
    assert!(matches!(error(&block(b"x", b'S', b"")), TarError::Type('S')));
    assert!(matches!(error(&block(b"x", b'0', b"9")), TarError::Header));
}

/// A size that a header and a record tell differently (CVE-2025-62518): the record counts, and only for files.
#[test]
fn sizes_are_told_once() {
    let mut records = Vec::new();
    pax::push(&mut records, b"size", b"1024");
    let mut bytes = block(b"", b'x', format!("{:011o}", records.len()).as_bytes());
    bytes.extend(&records);
    bytes.resize(2 * BLOCK, 0);
    let mut file = bytes.clone();
    file.extend(block(b"f", b'0', b"0"));
    file.extend(block(b"hidden", b'0', b"0"));
    file.extend([0; BLOCK]);
    file.extend(block(b"seen", b'0', b"0"));
    file.extend([0; 2 * BLOCK]);
    let names = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes);
        std::iter::from_fn(|| reader.next_entry().unwrap().map(|entry| entry.path)).collect::<Vec<_>>()
    };
    assert_eq!(names(&file), [b"f".to_vec(), b"seen".to_vec()]);
    bytes.extend(block(b"d", b'5', b"777"));
    bytes.extend(block(b"seen", b'0', b"0"));
    bytes.extend([0; 2 * BLOCK]);
    assert_eq!(names(&bytes), [b"d".to_vec(), b"seen".to_vec()]);
}
