//! The entropy device (virtio 1.2, section 5.4): fills buffers from the host kernel's generator.

use std::io;

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::GuestMemoryMmap;

use super::device::{ActivateError, Activation, Fault, VirtioDevice};
use super::queue::{Buffers, Chain};
use super::server::{Requests, Server};
use crate::thread::ThreadKind;
use crate::worker::Worker;

/// Linux asks for one buffer of 64 bytes at a time.
const QUEUE_SIZES: [u16; 1] = [16];
/// The most one request gets, in bytes. The device may use less of a buffer than there is, and a guest that wants more
/// asks again.
const MAX_BYTES: usize = 256;
/// Descriptors looked at in one request.
const MAX_DESCRIPTORS: usize = QUEUE_SIZES[0] as usize;

/// The device.
pub struct Rng {
    worker: Worker<Server<Filler>>,
}

impl Rng {
    /// A device whose worker is parked.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { worker: Worker::spawn(ThreadKind::Rng, "rng")? })
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.worker.serve(Filler, activation)
    }

    fn reset(&mut self) {
        self.worker.stop();
    }
}

struct Filler;

impl Requests for Filler {
    fn serve(&mut self, _: usize, memory: &GuestMemoryMmap, chain: Chain<'_>) -> Result<u32, Fault> {
        let mut buffers = Buffers::new(memory, chain, MAX_DESCRIPTORS).map_err(Fault::Guest)?;
        let mut bytes = [0; MAX_BYTES];
        let wanted = bytes.len().min(buffers.writable.len() as usize);
        fill(&mut bytes[..wanted])?;
        Ok(buffers.writable.write(&bytes[..wanted]) as u32)
    }
}

/// Random bytes: up to 256 come whole or not at all, getrandom(2).
fn fill(bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live mutable slice.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(count) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
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
}
