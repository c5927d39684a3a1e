//! The balloon (virtio 1.2, section 5.5): pages that the guest gives up go back to the host. It gives up those that the
//! launcher asks for ([`Sizes::want`]), by inflating, and those that it does not use, by free page reporting.
//!
//! A guest decides about its own memory, so nothing here trusts what it says about it: it may name any page in any
//! order, more than once, inflated or not. What is taken reads as zeros and comes back at the next touch.
//!
//! Free pages that are being reported are nobody's until the device has answered, and a guest that runs short of memory
//! meanwhile kills a process for want of them. So the virtual CPU that reports serves that queue itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use vm_memory::{Address, GuestAddress, GuestMemoryMmap};

use super::device::{ActivateError, Activation, ActiveQueue, Fault, VirtioDevice};
use super::interrupt::Interrupt;
use super::queue::{Buffers, Chain};
use super::server::{Requests, Server};
use crate::log;
use crate::memory::{self, PAGE_SIZE};
use crate::thread::ThreadKind;
use crate::worker::Worker;

/// Inflate, deflate, reporting. Queues without their feature are left out of the count, so reporting is the third.
const QUEUE_SIZES: [u16; 3] = [16, 16, 32];
const INFLATE: usize = 0;
const REPORTING: usize = 2;

/// The guest takes ballooned pages back before it kills a process (section 5.5.3).
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
/// Free page reporting.
const F_REPORTING: u64 = 1 << 5;

/// Pages taken from one inflate request; Linux sends 256 at most. What is beyond stays with the guest.
const MAX_PAGES: usize = 1024;
/// Descriptors looked at in one request; Linux reports 32 ranges at most.
const MAX_DESCRIPTORS: usize = 64;
/// The balloon's pages have this size everywhere.
const _: () = assert!(PAGE_SIZE == 4096);
/// How many of them a MiB has.
pub const PAGES_PER_MIB: u32 = 256;

/// The fields of the configuration space (section 5.5.4), as offsets: what the device wants, and `actual`, the one that
/// the driver writes.
const NUM_PAGES: u64 = 0;
const ACTUAL: u64 = 4;

/// How many pages the balloon should have and how many it has. Shared by the device, which shows both to the driver, and
/// whoever decides.
#[derive(Default)]
pub struct Sizes {
    wanted: AtomicU32,
    actual: AtomicU32,
}

impl Sizes {
    /// The pages wanted, and those that the driver says are there.
    pub fn get(&self) -> (u32, u32) {
        (self.wanted.load(Ordering::SeqCst), self.actual.load(Ordering::SeqCst))
    }

    /// Wants another size. The driver has to be told, see [`crate::virtio::mmio::Transport::config_changed`].
    pub fn want(&self, pages: u32) {
        self.wanted.store(pages, Ordering::SeqCst);
    }

    /// The driver says which size the balloon has.
    pub fn report(&self, pages: u32) {
        self.actual.store(pages, Ordering::SeqCst);
    }
}

/// The device.
pub struct Balloon {
    sizes: Arc<Sizes>,
    /// Inflates and deflates.
    worker: Worker<Server<Returner>>,
    /// Present while the device runs.
    reports: Option<Reports>,
}

/// The queue of free page reports, and what it takes to serve it.
struct Reports {
    memory: GuestMemoryMmap,
    queue: ActiveQueue,
    interrupt: Arc<Interrupt>,
}

impl Balloon {
    /// A device whose worker is parked.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn new(sizes: Arc<Sizes>) -> io::Result<Self> {
        Ok(Self { sizes, worker: Worker::spawn(ThreadKind::Balloon, "balloon")?, reports: None })
    }
}

impl VirtioDevice for Balloon {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_BALLOON
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        F_DEFLATE_ON_OOM | F_REPORTING
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let (wanted, actual) = self.sizes.get();
        let field = match offset {
            NUM_PAGES => wanted,
            ACTUAL => actual,
            _ => 0,
        };
        data.fill(0);
        if let Ok(data) = <&mut [u8; 4]>::try_from(data) {
            *data = field.to_le_bytes();
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (ACTUAL, Ok(actual)) = (offset, data.try_into()) {
            self.sizes.report(u32::from_le_bytes(actual));
        }
    }

    fn immediate_queues(&self) -> usize {
        1
    }

    fn kicked(&mut self, queue: usize) {
        let (REPORTING, Some(reports)) = (queue, &mut self.reports) else { return };
        let Reports { memory, queue, interrupt } = reports;
        let memory = &*memory;
        if let Err(fault) = queue.serve(memory, interrupt, |chain| report(memory, chain).map(|()| Some(0))) {
            log::guest(format_args!("balloon: {fault}; the device needs a reset"));
            interrupt.signal_needs_reset();
            self.reports = None;
        }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.reports = activation.queues.pop().map(|queue| Reports {
            memory: activation.memory.clone(),
            queue,
            interrupt: Arc::clone(&activation.interrupt),
        });
        self.worker.serve(Returner, activation)
    }

    fn reset(&mut self) {
        self.worker.stop();
        self.reports = None;
        // Whoever drives the device next has no pages in it.
        self.sizes.report(0);
    }
}

struct Returner;

impl Requests for Returner {
    fn serve(&mut self, queue: usize, memory: &GuestMemoryMmap, chain: Chain<'_>) -> Result<u32, Fault> {
        // Deflating needs nothing: the host gives pages at the next touch.
        if queue == INFLATE {
            inflate(memory, chain)?;
        }
        Ok(0)
    }
}

/// The request is an array of 32-bit page numbers (section 5.5.6).
fn inflate(memory: &GuestMemoryMmap, chain: Chain<'_>) -> Result<(), Fault> {
    let mut pages = Buffers::new(memory, chain, MAX_DESCRIPTORS).map_err(Fault::Guest)?.readable;
    let mut run: Option<(u64, u64)> = None;
    for _ in 0..MAX_PAGES {
        let mut number = [0; 4];
        if pages.read(&mut number) < number.len() {
            break;
        }
        let page = u64::from(u32::from_le_bytes(number));
        run = Some(match run {
            Some((start, count)) if start + count == page => (start, count + 1),
            // Linux fills its array from the last page down.
            Some((start, count)) if page + 1 == start => (page, count + 1),
            other => {
                give_back(memory, other)?;
                (page, 1)
            }
        });
    }
    give_back(memory, run)
}

fn give_back(memory: &GuestMemoryMmap, run: Option<(u64, u64)>) -> Result<(), Fault> {
    let Some((start, count)) = run else { return Ok(()) };
    memory::discard(memory, GuestAddress(start * PAGE_SIZE), count * PAGE_SIZE)
        .map_err(|_| Fault::Guest("pages for the balloon that are not memory"))
}

/// The buffers themselves are the free memory (section 5.5.6.7). They are never looked into.
fn report(memory: &GuestMemoryMmap, chain: Chain<'_>) -> Result<(), Fault> {
    for descriptor in chain.take(MAX_DESCRIPTORS) {
        let (start, length) = (descriptor.addr(), u64::from(descriptor.len()));
        if start.raw_value() % PAGE_SIZE != 0 || length % PAGE_SIZE != 0 || !descriptor.is_write_only() {
            return Err(Fault::Guest("a free page report that is not of whole writable pages"));
        }
        memory::discard(memory, start, length)
            .map_err(|_| Fault::Guest("a free page report of what is not memory"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
        for bad in [&[u32::MAX][..], &[end], &[end - 1, end], &[end, end - 1], &[0, u32::MAX], &[u32::MAX, 0]]
        {
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
        // It is answered in a ring that is empty now, so whatever comes, it is no crash: the device can be reset.
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
}
