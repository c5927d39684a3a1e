use super::*;
use crate::virtio::testutil::{Driver, Part};

#[test]
fn fills_what_it_may_and_no_more() {
    let mut driver = Driver::start(Rng::new().unwrap(), 0);
    let head = driver.add(0, &[Part::Write(64)]);
    let big = driver.add(0, &[Part::Write(100), Part::Write(1000)]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (head, 64));
    assert!(driver.written(head).iter().any(|byte| *byte != 0));
    assert_eq!(driver.wait_used(0), (big, MAX_BYTES as u32));
    let written = driver.written(big);
    assert!(written[MAX_BYTES..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_broken_chain_stops_the_device_until_it_is_reset() {
    let mut driver = Driver::start(Rng::new().unwrap(), 0);
    driver.add_raw(0, &[(u64::MAX - 10, 64, true)]);
    driver.kick(0);
    driver.wait_needs_reset();
    let mut driver = driver.restart();
    let head = driver.add(0, &[Part::Write(8)]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (head, 8));
}
