//! The balloon (virtio 1.2, section 5.5): pages that the guest gives up go back to the host. It gives up those that the
//! launcher asks for ([`Sizes::want`]), by inflating, and those that it does not use, by free page reporting.
//!
//! A guest decides about its own memory, so the device accepts any page in any order, more than once, inflated or not.
//! A page that the host took reads as zeros and comes back at the next touch.
//!
//! The guest cannot use free pages that it has reported until the device has answered, and a guest that runs short of memory
//! meanwhile kills a process for want of them. So the virtual CPU that reports serves that queue itself.

mod config;
pub mod sizes;
mod syscalls;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use vm_memory::{Address, GuestAddress, GuestMemoryMmap};

pub use self::config::BalloonConfig;
use self::sizes::{Sizes, Target};
pub use self::syscalls::SYSCALLS;
use super::buffers::Buffers;
use super::device::{Activation, VirtioDevice};
use super::error::{ActivateError, Fault, LifecycleError};
use super::plan::{BuildError, Built, Claimed, Name, Plan, Site};
use super::queue::{Chain, Queues};
use super::server::{Requests, Server};
use crate::fds::{FdError, InheritedFds};
use crate::log;
use crate::memory::{self, PAGE_SIZE};
use crate::thread::ThreadKind;
use crate::virtio::worker::Worker;

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
/// The fields of the configuration space (section 5.5.4), as offsets: what the device wants, and `actual`, the one that
/// the driver writes.
const NUM_PAGES: u64 = 0;
const ACTUAL: u64 = 4;

impl Plan for BalloonConfig {
    fn claim(&self, _: &Name, _: &mut InheritedFds) -> Result<Box<dyn Claimed>, FdError> {
        Ok(Box::new(*self))
    }
}

impl Claimed for BalloonConfig {
    fn build(self: Box<Self>, site: &mut Site<'_>) -> Result<Built, BuildError> {
        let sizes = Arc::<Sizes>::default();
        site.handles.balloon = Some(Target { device: site.device, sizes: Arc::clone(&sizes) });
        Ok(Built::new(Balloon::new(sizes)?))
    }
}

/// The device.
pub struct Balloon {
    sizes: Arc<Sizes>,
    /// Inflates and deflates.
    worker: Worker<Server<Returner>>,
    /// The queue of free page reports, while the device has queues.
    reports: Option<Queues>,
}

impl Balloon {
    /// A device whose worker is parked.
    ///
    /// # Errors
    /// When the host gives no thread.
    pub fn new(sizes: Arc<Sizes>) -> io::Result<Self> {
        Ok(Self { sizes, worker: Worker::spawn(ThreadKind::Worker(&SYSCALLS), "balloon")?, reports: None })
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
        if queue == REPORTING {
            self.take_reports();
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let mut queues = activation.queues;
        self.reports = Some(queues.split_off(REPORTING));
        self.worker.serve(Returner, queues)
    }

    fn pause(&mut self) -> Result<(), LifecycleError> {
        self.worker.pause()
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        self.worker.resume()?;
        // A kick of the meantime was not served.
        self.take_reports();
        Ok(())
    }

    fn reset(&mut self) {
        self.worker.stop();
        self.reports = None;
        // The next driver has no pages in the balloon.
        self.sizes.report(0);
    }
}

impl Balloon {
    fn take_reports(&mut self) {
        let Some(reports) = &mut self.reports else { return };
        let memory = Arc::clone(&reports.memory);
        if let Err(fault) = reports.serve(0, |chain| report(&memory, chain).map(|()| Some(0))) {
            log::guest(format_args!("balloon: {fault}; the device needs a reset"));
            reports.interrupt.signal_needs_reset();
            self.reports = None;
        }
    }
}

/// Gives pages back to the host; it has no state.
struct Returner;

impl Requests for Returner {
    fn serve(&mut self, queue: usize, memory: &GuestMemoryMmap, chain: Chain) -> Result<Option<u32>, Fault> {
        // Deflating needs nothing: the host gives pages at the next touch.
        if queue == INFLATE {
            inflate(memory, chain)?;
        }
        Ok(Some(0))
    }
}

/// The request is an array of 32-bit page numbers (section 5.5.6).
fn inflate(memory: &GuestMemoryMmap, chain: Chain) -> Result<(), Fault> {
    let mut pages = Buffers::new(memory, chain, MAX_DESCRIPTORS)?.readable;
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
fn report(memory: &GuestMemoryMmap, chain: Chain) -> Result<(), Fault> {
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
