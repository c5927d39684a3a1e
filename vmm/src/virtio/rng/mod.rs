//! The entropy device (virtio 1.2, section 5.4): fills buffers from the host kernel's generator.

mod config;
mod syscalls;
#[cfg(test)]
mod tests;

use std::io;

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::GuestMemoryMmap;

pub use self::config::RngConfig;
pub use self::syscalls::SYSCALLS;
use super::buffers::Buffers;
use super::device::{Activation, VirtioDevice};
use super::error::{ActivateError, Fault, LifecycleError};
use super::plan::{BuildError, Built, Claimed, Name, Plan, Site};
use super::queue::Chain;
use super::server::{Requests, Server};
use crate::fds::{FdError, InheritedFds};
use crate::thread::ThreadKind;
use crate::virtio::worker::Worker;

/// Linux asks for one buffer of 64 bytes at a time.
const QUEUE_SIZES: [u16; 1] = [16];
/// The most one request gets, in bytes. The device may use less of a buffer than there is, and a guest that wants more
/// asks again.
const MAX_BYTES: usize = 256;
/// Descriptors looked at in one request.
const MAX_DESCRIPTORS: usize = QUEUE_SIZES[0] as usize;

impl Plan for RngConfig {
    fn claim(&self, _: &Name, _: &mut InheritedFds) -> Result<Box<dyn Claimed>, FdError> {
        Ok(Box::new(*self))
    }
}

impl Claimed for RngConfig {
    fn build(self: Box<Self>, _: &mut Site<'_>) -> Result<Built, BuildError> {
        Ok(Built::new(Rng::new()?))
    }
}

/// The device.
pub struct Rng {
    worker: Worker<Server<Filler>>,
}

impl Rng {
    /// A device whose worker is parked.
    ///
    /// # Errors
    /// When the host gives no thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self { worker: Worker::spawn(ThreadKind::Worker(&SYSCALLS), "rng")? })
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.worker.serve(Filler, activation.queues)
    }

    fn pause(&mut self) -> Result<(), LifecycleError> {
        self.worker.pause()
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(self.worker.resume()?)
    }

    fn reset(&mut self) {
        self.worker.stop();
    }
}

/// Answers requests; it has no state.
struct Filler;

impl Requests for Filler {
    fn serve(&mut self, _: usize, memory: &GuestMemoryMmap, chain: Chain) -> Result<Option<u32>, Fault> {
        let mut buffers = Buffers::new(memory, chain, MAX_DESCRIPTORS)?;
        let mut bytes = [0; MAX_BYTES];
        let wanted = bytes.len().min(buffers.writable.len() as usize);
        fill(&mut bytes[..wanted])?;
        Ok(Some(buffers.writable.write(&bytes[..wanted]) as u32))
    }
}

/// Random bytes: up to 256 come whole or not at all, getrandom(2).
fn fill(bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live mutable slice.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(count) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
}
