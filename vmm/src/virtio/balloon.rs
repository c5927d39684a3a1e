//! The balloon (virtio 1.2, section 5.5) with free page reporting: pages that the guest does not use go back to the
//! host. Nothing asks the guest for pages yet (`num_pages` stays 0); reporting alone keeps an idle guest small.

use std::io;
use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use vm_memory::{Address, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::device::{ActivateError, Activation, ActiveQueue, Fault, VirtioDevice};
use super::interrupt::Interrupt;
use super::queue::{Buffers, Chain};
use crate::memory::{self, PAGE_SIZE};
use crate::thread::ThreadKind;
use crate::worker::{Events, Handler, Worker};

/// Inflate, deflate, reporting. Queues without their feature are left out of the count, so reporting is the third.
const QUEUE_SIZES: [u16; 3] = [16, 16, 32];
const INFLATE: u64 = 0;
const REPORTING: u64 = 2;

/// The guest takes ballooned pages back before it kills a process (section 5.5.3).
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
/// Free page reporting.
const F_REPORTING: u64 = 1 << 5;

/// Pages taken from one inflate request; Linux sends 256 at most. What is beyond stays with the guest.
const MAX_PAGES: usize = 1024;
/// Descriptors looked at in one request; Linux reports 32 ranges at most.
const MAX_DESCRIPTORS: usize = 64;
/// Where `actual`, the one field that the driver writes, lies in the configuration space.
const ACTUAL: u64 = 4;

/// The device.
pub struct Balloon {
    actual: [u8; 4],
    worker: Worker<Returner>,
}

impl Balloon {
    /// A device whose worker is parked.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { actual: [0; 4], worker: Worker::spawn(ThreadKind::Balloon, "balloon")? })
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
        data.fill(0);
        if offset == ACTUAL && data.len() == self.actual.len() {
            data.copy_from_slice(&self.actual);
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (ACTUAL, Ok(actual)) = (offset, data.try_into()) {
            self.actual = actual;
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        let handler = Returner { memory, queues, interrupt: Arc::clone(&interrupt) };
        self.worker.start(handler, interrupt)
    }

    fn reset(&mut self) {
        self.worker.stop();
    }
}

struct Returner {
    memory: GuestMemoryMmap,
    queues: Vec<ActiveQueue>,
    interrupt: Arc<Interrupt>,
}

impl Handler for Returner {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        for (token, queue) in (0..).zip(&self.queues) {
            events.add_event(&queue.kick, token)?;
        }
        Ok(())
    }

    fn event(&mut self, token: u64, _: EventSet, _: &Events) -> Result<(), Fault> {
        let Some(queue) = self.queues.get_mut(token as usize) else { return Ok(()) };
        queue.serve(&self.memory, &self.interrupt, |chain| {
            match token {
                INFLATE => inflate(&self.memory, chain)?,
                REPORTING => report(&self.memory, chain)?,
                // Deflating needs nothing: the host gives pages at the next touch.
                _ => {}
            }
            Ok(0)
        })
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
    use crate::virtio::testutil::{Driver, Part};

    const AREA: u64 = 0x40_0000;

    fn filled(pages: u64) -> Driver {
        let driver = Driver::start(Balloon::new().unwrap(), F_REPORTING);
        driver.memory().write_slice(&vec![0xaa; (pages * PAGE_SIZE) as usize], GuestAddress(AREA)).unwrap();
        driver
    }

    fn kept(driver: &Driver, pages: u64) -> Vec<bool> {
        let byte = |page| driver.memory().read_obj::<u8>(GuestAddress(AREA + page * PAGE_SIZE)).unwrap();
        (0..pages).map(|page| byte(page) == 0xaa).collect()
    }

    #[test]
    fn inflating_takes_exactly_the_pages_named() {
        let mut driver = filled(6);
        let first = (AREA / PAGE_SIZE) as u32;
        let numbers: Vec<u8> =
            [first + 3, first + 2, first + 5].iter().flat_map(|page| page.to_le_bytes()).collect();
        let head = driver.add(0, &[Part::Read(&numbers)]);
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
        let mut driver = filled(1);
        driver.add(0, &[Part::Read(&u32::MAX.to_le_bytes())]);
        driver.kick(0);
        driver.wait_needs_reset();
    }

    #[test]
    fn the_driver_writes_actual_and_nothing_else() {
        let mut balloon = Balloon::new().unwrap();
        balloon.write_config(0, &[1; 4]);
        balloon.write_config(4, &[2; 8]);
        balloon.write_config(4, &[3; 4]);
        let mut config = [0; 4];
        balloon.read_config(0, &mut config);
        assert_eq!(config, [0; 4]);
        balloon.read_config(4, &mut config);
        assert_eq!(config, [3; 4]);
    }
}
