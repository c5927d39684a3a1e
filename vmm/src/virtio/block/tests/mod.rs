mod limits;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};

use super::disk::DiskError;
use super::*;
use crate::virtio::testutil::{Driver, Part};

const OK: u8 = 0;
const FAILED: u8 = 1;
const UNSUPPORTED: u8 = 2;
const SIZE: usize = 1 << 20;

fn file(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

fn contents(file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = file.try_clone().unwrap();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn writable() -> (Arc<File>, Driver) {
    let file = file(&[0x55; SIZE]);
    let disk = Disk::read_write(Arc::clone(&file)).unwrap();
    (file, Driver::start(Block::new(disk, "disk7", &DiskLimits::default()).unwrap(), 0))
}

fn map(segments: &[(&Arc<File>, u64, u64)]) -> Result<SegmentMap, DiskError> {
    SegmentMap::new(
        segments
            .iter()
            .map(|(file, offset, length)| Segment {
                file: Arc::clone(file),
                offset: *offset,
                length: *length,
            })
            .collect(),
    )
}

/// A disk of 1.5 sectors of 1s and 2 of 2s.
fn read_only() -> (Arc<File>, Driver) {
    let (ones, twos) = (file(&[1; 1000]), file(&[2; 1024]));
    let disk = Disk::ReadOnly(map(&[(&ones, 232, 768), (&twos, 0, 1024)]).unwrap());
    (ones, Driver::start(Block::new(disk, "disk0", &DiskLimits::default()).unwrap(), 0))
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn range(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat()
}

/// One request to its end: its status, the bytes it put into the data's room, and how many it says it wrote.
fn request(driver: &mut Driver, parts: &[Part<'_>]) -> (u8, Vec<u8>, u32) {
    let head = driver.add(0, parts);
    driver.kick(0);
    let (used, length) = driver.wait_used(0);
    assert_eq!(used, head);
    let mut data = driver.written(head);
    let status = data.pop().unwrap();
    (status, data, length)
}

fn write_class() -> [(u32, Vec<u8>); 4] {
    [
        (VIRTIO_BLK_T_OUT, vec![9; 512]),
        (VIRTIO_BLK_T_FLUSH, Vec::new()),
        (VIRTIO_BLK_T_DISCARD, range(0, 1, 0)),
        (VIRTIO_BLK_T_WRITE_ZEROES, range(0, 1, 0)),
    ]
}

#[test]
fn segments_read_as_one_padded_disk() {
    let (_, mut driver) = read_only();
    let (status, data, length) =
        request(&mut driver, &[Part::Read(&header(VIRTIO_BLK_T_IN, 0)), Part::Write(2048), Part::Write(1)]);
    assert_eq!((status, length), (OK, 2049));
    let expected = [&[1; 768][..], &[0; 256], &[2; 1024]].concat();
    assert_eq!(data, expected);
    // From the middle, into odd pieces, with the header cut up and the status behind data in one buffer.
    let header = header(VIRTIO_BLK_T_IN, 1);
    let parts = [
        Part::Read(&header[..3]),
        Part::Read(&header[3..]),
        Part::Write(1),
        Part::Write(700),
        Part::Write(324),
    ];
    let (status, data, _) = request(&mut driver, &parts);
    assert_eq!((status, data), (OK, expected[512..1536].to_vec()));
}

#[test]
fn the_device_refuses_writes_to_a_read_only_disk() {
    let (file, mut driver) = read_only();
    for (kind, data) in write_class() {
        let (status, ..) =
            request(&mut driver, &[Part::Read(&header(kind, 0)), Part::Read(&data), Part::Write(1)]);
        assert_eq!(status, FAILED, "{kind}");
    }
    assert_eq!(contents(&file), [1; 1000]);
    assert!(!driver.needs_reset());
}

#[test]
fn what_is_written_is_read() {
    let (file, mut driver) = writable();
    let bytes: Vec<u8> = (0..1536u32).map(|byte| byte as u8).collect();
    let out = [
        Part::Read(&header(VIRTIO_BLK_T_OUT, 3)),
        Part::Read(&bytes[..700]),
        Part::Read(&bytes[700..]),
        Part::Write(1),
    ];
    assert_eq!(request(&mut driver, &out), (OK, vec![], 1));
    assert_eq!(request(&mut driver, &[Part::Read(&header(VIRTIO_BLK_T_FLUSH, 0)), Part::Write(1)]).0, OK);
    let (status, data, _) =
        request(&mut driver, &[Part::Read(&header(VIRTIO_BLK_T_IN, 3)), Part::Write(1536), Part::Write(1)]);
    assert_eq!((status, &data), (OK, &bytes));
    assert_eq!(contents(&file)[1536..3072], bytes);
    assert!(driver.interrupted());
}

#[test]
fn discard_and_write_zeroes_make_holes() {
    let (file, mut driver) = writable();
    let full = file.metadata().unwrap().blocks();
    for (kind, range) in [
        (VIRTIO_BLK_T_DISCARD, [range(256, 256, 0), range(1024, 256, 0)].concat()),
        (VIRTIO_BLK_T_WRITE_ZEROES, range(512, 256, 1)),
        (VIRTIO_BLK_T_WRITE_ZEROES, range(1500, 100, 0)),
        (VIRTIO_BLK_T_DISCARD, range(0, 0, 0)),
    ] {
        let parts = [Part::Read(&header(kind, 0)), Part::Read(&range), Part::Write(1)];
        assert_eq!(request(&mut driver, &parts).0, OK, "{kind}");
    }
    let bytes = contents(&file);
    for (sector, bytes) in bytes.chunks(512).enumerate() {
        let zero = matches!(sector, 256..768 | 1024..1280 | 1500..1600);
        assert!(bytes.iter().all(|byte| *byte == if zero { 0 } else { 0x55 }), "sector {sector}");
    }
    assert_eq!(bytes.len(), SIZE);
    assert!(file.metadata().unwrap().blocks() <= full - 700);
}

#[test]
fn requests_beyond_the_disk_fail_and_nothing_else_does() {
    let (file, mut driver) = writable();
    let last = SIZE as u64 / 512 - 1;
    let kinds = [(VIRTIO_BLK_T_IN, 1024u32), (VIRTIO_BLK_T_OUT, 1024)];
    for (kind, length) in kinds {
        for sector in [last, last + 1, u64::MAX, u64::MAX / 512] {
            let bytes = vec![1; length as usize];
            let data = if kind == VIRTIO_BLK_T_IN { Part::Write(length) } else { Part::Read(&bytes) };
            let (status, ..) =
                request(&mut driver, &[Part::Read(&header(kind, sector)), data, Part::Write(1)]);
            assert_eq!(status, FAILED, "{kind} at {sector}");
        }
    }
    for range in [
        range(last, 2, 0),
        range(u64::MAX, 1, 0),
        range(0, u32::MAX, 0),
        range(0, 1, 0)[..8].to_vec(),
        range(0, 1, 0).repeat(request::MAX_RANGES as usize + 1),
    ] {
        let parts = [Part::Read(&header(VIRTIO_BLK_T_DISCARD, 0)), Part::Read(&range), Part::Write(1)];
        assert_eq!(request(&mut driver, &parts).0, FAILED);
    }
    // Half a sector, and no whole header.
    let odd = [Part::Read(&header(VIRTIO_BLK_T_IN, 0)), Part::Write(256), Part::Write(1)];
    assert_eq!(request(&mut driver, &odd).0, FAILED);
    assert_eq!(request(&mut driver, &[Part::Read(&[0; 15]), Part::Write(513)]).0, FAILED);
    assert_eq!(contents(&file), [0x55; SIZE]);
    assert!(!driver.needs_reset());
}

#[test]
fn unknown_requests_and_flags_are_unsupported() {
    let (_, mut driver) = writable();
    for kind in [2, 3, 14, 16, 26, u32::MAX] {
        let parts = [Part::Read(&header(kind, 0)), Part::Write(1)];
        assert_eq!(request(&mut driver, &parts).0, UNSUPPORTED, "{kind}");
    }
    for (kind, flags) in [(VIRTIO_BLK_T_DISCARD, 1), (VIRTIO_BLK_T_WRITE_ZEROES, 2)] {
        let parts = [Part::Read(&header(kind, 0)), Part::Read(&range(0, 1, flags)), Part::Write(1)];
        assert_eq!(request(&mut driver, &parts).0, UNSUPPORTED);
    }
}

#[test]
fn tells_its_id_and_its_size() {
    let (_, mut driver) = writable();
    let (status, data, _) =
        request(&mut driver, &[Part::Read(&header(VIRTIO_BLK_T_GET_ID, 0)), Part::Write(20), Part::Write(1)]);
    assert_eq!((status, &data[..]), (OK, &b"disk7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]));
    let block =
        Block::new(Disk::read_write(file(&[0; 2048])).unwrap(), "disk0", &DiskLimits::default()).unwrap();
    let mut capacity = [0; 8];
    block.read_config(0, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), 4);
    block.read_config(u64::MAX, &mut capacity);
    assert_eq!(capacity, [0; 8]);
    assert_eq!(block.features() & 1 << VIRTIO_BLK_F_RO, 0);
}

#[test]
fn chains_that_cannot_be_answered_stop_the_device_until_it_is_reset() {
    // No room for a status; outside memory; a readable part behind a writable one.
    let broken: [&[(u64, u32, bool)]; 4] = [
        &[(0x20_0000, 16, false)],
        &[(0x20_0000, 16, false), (1 << 40, 1, true)],
        &[(0x20_0000, 1, true), (0x20_0000, 16, false)],
        &[(u64::MAX - 3, 16, false), (0x20_0000, 1, true)],
    ];
    let (_, mut driver) = writable();
    for chain in broken {
        driver.add_raw(0, chain);
        driver.kick(0);
        driver.wait_needs_reset();
        driver = driver.restart();
    }
    let (status, data, _) =
        request(&mut driver, &[Part::Read(&header(VIRTIO_BLK_T_IN, 0)), Part::Write(512), Part::Write(1)]);
    assert_eq!((status, data), (OK, vec![0x55; 512]));
}

#[test]
fn loops_and_wrong_indexes_stop_the_device() {
    const NEXT: u16 = 1;
    let (_, mut driver) = writable();
    // A descriptor that follows itself, one that follows nothing, and a ring that claims more than it holds.
    driver.set_descriptor(0, 0, 0x20_0000, 16, NEXT, 0);
    driver.make_available(0, 0);
    driver.kick(0);
    driver.wait_needs_reset();
    let mut driver = driver.restart();
    driver.set_descriptor(0, 0, 0x20_0000, 16, NEXT, 500);
    driver.make_available(0, 0);
    driver.kick(0);
    driver.wait_needs_reset();
    let mut driver = driver.restart();
    driver.set_available_index(0, 129);
    driver.kick(0);
    driver.wait_needs_reset();
}

/// CVE-2026-45782: what is under way ends before a reset does.
#[test]
fn a_reset_waits_for_requests_under_way() {
    let (file, mut driver) = writable();
    let bytes = vec![7; 512 << 10];
    for _ in 0..8 {
        for _ in 0..8 {
            driver.add(0, &[Part::Read(&header(VIRTIO_BLK_T_OUT, 0)), Part::Read(&bytes), Part::Write(1)]);
        }
        driver.kick(0);
        let memory = driver.memory().clone();
        driver = driver.restart();
        // Any write that still read from this memory would now bring something else.
        vm_memory::Bytes::write_slice(&memory, &vec![8; 8 << 20], vm_memory::GuestAddress(0x10_0000))
            .unwrap();
        let seen = contents(&file);
        assert!(seen[..bytes.len()].iter().all(|byte| matches!(byte, 7 | 0x55)));
    }
}

#[test]
fn more_requests_than_the_ring_holds_are_all_served() {
    let (_, mut driver) = writable();
    for round in 0..20u64 {
        let heads: Vec<_> = (0..40)
            .map(|_| {
                driver
                    .add(0, &[Part::Read(&header(VIRTIO_BLK_T_IN, round)), Part::Write(512), Part::Write(1)])
            })
            .collect();
        driver.kick(0);
        for head in heads {
            assert_eq!(driver.wait_used(0), (head, 513));
        }
    }
}

#[test]
fn maps_that_cannot_be_are_refused() {
    let short = file(&[1; 100]);
    assert!(matches!(map(&[]), Err(DiskError::Empty)));
    assert!(matches!(map(&[(&short, 0, 100), (&short, 0, 0)]), Err(DiskError::EmptySegment(1))));
    assert!(matches!(map(&[(&short, 50, 51)]), Err(DiskError::Short { index: 0, needed: 101, actual: 100 })));
    assert!(matches!(map(&[(&short, u64::MAX, 1)]), Err(DiskError::Overflow(0))));
    for bytes in [0, 511, 513] {
        assert!(matches!(Disk::read_write(file(&vec![0; bytes])), Err(DiskError::Size(_))));
    }
}

#[test]
fn a_file_that_shrinks_fails_reads_and_nothing_else() {
    let (file, mut driver) = writable();
    file.set_len(4096).unwrap();
    let read = |driver: &mut Driver, sector| {
        request(driver, &[Part::Read(&header(VIRTIO_BLK_T_IN, sector)), Part::Write(1024), Part::Write(1)]).0
    };
    assert_eq!(read(&mut driver, 7), FAILED);
    assert_eq!(read(&mut driver, 100), FAILED);
    assert_eq!(read(&mut driver, 6), OK);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any read of any map is what the same read of the map's bytes would be.
    #[test]
    fn any_map_reads_as_its_bytes(lengths in prop::collection::vec(1u64..1600, 1..8), start in 0u64..20, count in 1u64..20) {
        let pieces: Vec<_> = lengths.iter().enumerate().map(|(index, length)| (file(&vec![index as u8 + 1; *length as usize + 30]), *length)).collect();
        let segments: Vec<_> = pieces.iter().map(|(file, length)| (file, 30, *length)).collect();
        let mut expected = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            expected.resize(expected.len() + *length as usize, index as u8 + 1);
            expected.resize(expected.len().next_multiple_of(512), 0);
        }
        let disk = Disk::ReadOnly(map(&segments).unwrap());
        prop_assert_eq!(disk.bytes(), expected.len() as u64);
        let mut driver = Driver::start(Block::new(disk, "disk0", &DiskLimits::default()).unwrap(), 0);
        let (status, data, _) = request(&mut driver, &[Part::Read(&header(VIRTIO_BLK_T_IN, start)), Part::Write(count as u32 * 512), Part::Write(1)]);
        let range = start as usize * 512..(start + count) as usize * 512;
        match expected.get(range) {
            Some(expected) => prop_assert!(status == OK && data == expected),
            None => prop_assert_eq!(status, FAILED),
        }
    }

    /// Rings full of anything: every chain is answered, or the device says that it needs a reset. It never panics.
    #[test]
    fn any_ring(
        descriptors in prop::collection::vec((prop_oneof![0u64..0x110_0000, any::<u64>()], prop_oneof![0u32..2048, any::<u32>()], 0u16..8, prop_oneof![0u16..16, any::<u16>()]), 16),
        heads in prop::collection::vec(prop_oneof![0u16..16, any::<u16>()], 1..20),
        kinds in prop::collection::vec(0u32..16, 16),
    ) {
        let (file, mut driver) = writable();
        for (number, kind) in kinds.iter().enumerate() {
            let address = vm_memory::GuestAddress(0x20_0000 + number as u64 * 64);
            vm_memory::Bytes::write_slice(driver.memory(), &header(*kind, number as u64), address).unwrap();
        }
        for (number, (address, length, flags, next)) in descriptors.iter().enumerate() {
            driver.set_descriptor(0, number as u16, *address, *length, *flags, *next);
        }
        heads.iter().for_each(|head| driver.make_available(0, *head));
        driver.kick(0);
        let mut answered = 0;
        while answered < heads.len() && !driver.needs_reset() {
            answered += driver.try_used(0).iter().count();
            std::thread::yield_now();
        }
        prop_assert_eq!(contents(&file).len(), SIZE);
        let mut driver = driver.restart();
        let (status, ..) = request(&mut driver, &[Part::Read(&header(VIRTIO_BLK_T_IN, 0)), Part::Write(512), Part::Write(1)]);
        prop_assert_eq!(status, OK);
    }
}
