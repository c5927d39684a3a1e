use vm_memory::Bytes;

use super::*;
use crate::virtio::testutil::{Driver, MEMORY, Part};

const AREA: u64 = 0x40_0000;

fn filled(pages: u64) -> Driver {
    let driver = Driver::start(Balloon::new(Arc::default()).unwrap(), F_REPORTING);
    driver.memory().write_slice(&vec![0xaa; (pages * PAGE_SIZE) as usize], GuestAddress(AREA)).unwrap();
    driver
}

fn numbers(pages: &[u32]) -> Vec<u8> {
    pages.iter().flat_map(|page| page.to_le_bytes()).collect()
}

fn kept(driver: &Driver, pages: u64) -> Vec<bool> {
    let byte = |page| driver.memory().read_obj::<u8>(GuestAddress(AREA + page * PAGE_SIZE)).unwrap();
    (0..pages).map(|page| byte(page) == 0xaa).collect()
}

#[test]
fn inflating_takes_exactly_the_pages_named() {
    let mut driver = filled(6);
    let first = (AREA / PAGE_SIZE) as u32;
    let head = driver.add(0, &[Part::Read(&numbers(&[first + 3, first + 2, first + 5]))]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (head, 0));
    assert_eq!(kept(&driver, 6), [true, true, false, false, true, false]);
}

#[test]
fn reporting_takes_the_buffers_themselves() {
    let mut driver = filled(4);
    let head = driver.add_raw(2, &[(AREA, 4096, true), (AREA + 2 * 4096, 4096, true)]);
    driver.kick(2);
    assert_eq!(driver.wait_used(2), (head, 0));
    assert_eq!(kept(&driver, 4), [false, true, false, true]);
}

#[test]
fn reports_of_anything_else_stop_the_device() {
    for bad in [(AREA + 1, 4096, true), (AREA, 100, true), (AREA, 4096, false), (1 << 40, 4096, true)] {
        let mut driver = filled(2);
        driver.add_raw(2, &[bad]);
        driver.kick(2);
        driver.wait_needs_reset();
        assert_eq!(kept(&driver, 2), [true, true], "{bad:?}");
    }
}

#[test]
fn page_numbers_outside_memory_stop_the_device() {
    let end = (MEMORY / PAGE_SIZE) as u32;
    let first = (AREA / PAGE_SIZE) as u32;
    // The last are runs that start inside, and such as turn up again from the other end of the numbers.
    for bad in [&[u32::MAX][..], &[end], &[end - 1, end], &[end, end - 1], &[0, u32::MAX], &[u32::MAX, 0]] {
        let mut driver = filled(2);
        driver.add(0, &[Part::Read(&numbers(bad))]);
        driver.kick(0);
        driver.wait_needs_reset();
        assert_eq!(kept(&driver, 2), [true, true], "{bad:?}");
        let mut driver = driver.restart();
        driver.memory().write_slice(&[0xaa; 4096], GuestAddress(AREA)).unwrap();
        let head = driver.add(0, &[Part::Read(&numbers(&[first]))]);
        driver.kick(0);
        assert_eq!(driver.wait_used(0), (head, 0));
        assert_eq!(kept(&driver, 1), [false]);
    }
}

#[test]
fn pages_may_come_twice_in_any_order_and_be_used_again() {
    let mut driver = filled(6);
    let first = (AREA / PAGE_SIZE) as u32;
    let wild = [4, 3, 4, 4, 5, 3, 4].map(|page| first + page);
    // In odd pieces, and with half a number at the end, which counts for nothing.
    let bytes = numbers(&wild);
    let head = driver.add(0, &[Part::Read(&bytes[..5]), Part::Read(&bytes[5..]), Part::Read(&[0, 4])]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (head, 0));
    assert_eq!(kept(&driver, 6), [true, true, true, false, false, false]);
    // Taken back, those and one that was never given up.
    let head = driver.add(1, &[Part::Read(&numbers(&[first + 3, first]))]);
    driver.kick(1);
    assert_eq!(driver.wait_used(1), (head, 0));
    driver.memory().write_slice(&[0xaa; 4096], GuestAddress(AREA + 3 * PAGE_SIZE)).unwrap();
    assert_eq!(kept(&driver, 6), [true, true, true, true, false, false]);
}

#[test]
fn one_request_takes_so_many_pages_and_no_more() {
    let pages = MAX_PAGES as u64 + 2;
    let mut driver = filled(pages);
    let first = (AREA / PAGE_SIZE) as u32;
    let all: Vec<u32> = (first..first + pages as u32).collect();
    let head = driver.add(0, &[Part::Read(&numbers(&all))]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (head, 0));
    assert_eq!(kept(&driver, pages).iter().filter(|kept| **kept).count(), 2);
}

#[test]
fn a_driver_may_give_up_its_own_rings() {
    let mut driver = filled(1);
    // The rings lie in the first MiB, and one of them is being read.
    let ring = numbers(&(0..256).collect::<Vec<_>>());
    driver.add(0, &[Part::Read(&ring)]);
    driver.kick(0);
    // The device answers in a ring that is empty now. It does not crash, and can be reset.
    let mut driver = driver.restart();
    let head = driver.add(0, &[Part::Read(&numbers(&[1000]))]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (head, 0));
}

#[test]
fn the_driver_writes_actual_and_nothing_else() {
    let sizes = Arc::<Sizes>::default();
    let mut balloon = Balloon::new(Arc::clone(&sizes)).unwrap();
    balloon.write_config(0, &[1; 4]);
    balloon.write_config(4, &[2; 8]);
    balloon.write_config(4, &[3; 4]);
    let mut config = [0; 4];
    balloon.read_config(0, &mut config);
    assert_eq!(config, [0; 4]);
    balloon.read_config(4, &mut config);
    assert_eq!(config, [3; 4]);
    assert_eq!(sizes.get(), (0, 0x0303_0303));
    sizes.want(7);
    balloon.read_config(0, &mut config);
    assert_eq!(config, [7, 0, 0, 0]);
    balloon.reset();
    assert_eq!(sizes.get(), (7, 0));
}

#[test]
fn a_report_during_a_pause_is_taken_when_the_device_goes_on() {
    let mut driver = filled(4);
    driver.lifecycle().pause().unwrap();
    let report = driver.add_raw(2, &[(AREA, 4096, true)]);
    driver.kick(2);
    let inflated = driver.add(0, &[Part::Read(&numbers(&[(AREA / PAGE_SIZE) as u32 + 2]))]);
    driver.kick(0);
    assert_eq!(kept(&driver, 4), [true; 4]);
    driver.lifecycle().resume().unwrap();
    assert_eq!(driver.wait_used(2), (report, 0));
    assert_eq!(driver.wait_used(0), (inflated, 0));
    assert_eq!(kept(&driver, 4), [false, true, false, true]);
}
