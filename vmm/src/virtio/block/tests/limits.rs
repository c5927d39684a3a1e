//! Limits, and the requests that wait for them.

use super::*;
use crate::virtio::rate::RateLimit;

/// As many as the disk is allowed, and the others later; reads do not wait for writes, nor a reset for either.
#[test]
fn limits_hold_one_way_up_and_lose_nothing() {
    let slow = Some(RateLimit { per_second: 1 << 20, burst: 1 });
    let never = Some(RateLimit { per_second: 1, burst: 1 });
    // One write takes more than an hour's worth.
    let disk = Disk::read_write(file(&[0x55; SIZE])).unwrap();
    let limits = DiskLimits { read_bytes: slow, write_bytes: never, ..DiskLimits::default() };
    let mut driver = Driver::start(Block::new(disk, "disk0", &limits).unwrap(), 0);
    let bytes = vec![7; 4096];
    let out = header(VIRTIO_BLK_T_OUT, 0);
    let mut written = Vec::new();
    for _ in 0..10 {
        written.push(driver.add(0, &[Part::Read(&out), Part::Read(&bytes), Part::Write(1)]));
    }
    driver.add(0, &[Part::Read(&header(VIRTIO_BLK_T_FLUSH, 0)), Part::Write(1)]);
    let read: Vec<_> = (0..10)
        .map(|sector| {
            let header = header(VIRTIO_BLK_T_IN, 8 * sector + 8);
            driver.add(0, &[Part::Read(&header), Part::Write(4096), Part::Write(1)])
        })
        .collect();
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (written[0], 1));
    for head in read {
        assert_eq!(driver.wait_used(0), (head, 4097));
        assert_eq!(driver.written(head), [&[0x55; 4096][..], &[OK]].concat());
    }
    assert_eq!(driver.try_used(0), None);
    // A driver that offers the waiting ones again and again is broken.
    for _ in 0..SIZE / 512 {
        driver.make_available(0, written[5]);
        driver.kick(0);
        if driver.needs_reset() {
            break;
        }
    }
    driver.wait_needs_reset();
    driver.restart();
}

/// Requests that wait for their limit keep their places over a pause.
#[test]
fn a_pause_keeps_the_requests_that_wait() {
    let slow = Some(RateLimit { per_second: 1 << 20, burst: 1 });
    let limits = DiskLimits { read_bytes: slow, ..DiskLimits::default() };
    let disk = Disk::read_write(file(&[0x55; SIZE])).unwrap();
    let mut driver = Driver::start(Block::new(disk, "disk0", &limits).unwrap(), 0);
    let read = header(VIRTIO_BLK_T_IN, 0);
    let heads: Vec<_> =
        (0..20).map(|_| driver.add(0, &[Part::Read(&read), Part::Write(4096), Part::Write(1)])).collect();
    driver.kick(0);
    let mut heads = heads.into_iter();
    for _ in 0..4 {
        assert_eq!(Some(driver.wait_used(0).0), heads.next());
        driver.lifecycle().pause().unwrap();
        while let Some((head, _)) = driver.try_used(0) {
            assert_eq!(Some(head), heads.next());
        }
        driver.lifecycle().resume().unwrap();
    }
    for head in heads {
        assert_eq!(driver.wait_used(0), (head, 4097));
    }
}
