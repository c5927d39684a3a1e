//! The vsock device (virtio 1.2, section 5.10): streams between the guest and the host, opened by the guest only.
//!
//! ```text
//!  guest           worker thread                         launcher
//!  tx queue -----> Switch: table of connections
//!  rx queue <-----   Connection <-- unix socket pair --> one end, received on `dial` with the port
//! ```
//! - The host cannot dial the guest. The launcher serves the host's ports; the device listens on none.
//! - Bytes of the guest go from its memory into the socket and back without a copy in between. The device keeps only what
//!   a full socket does not take, within the credit that the guest was given.
//! - The guest's mistakes cost it the connection (RST) or, where the rings themselves are broken, the device.
//! - A reset closes all connections. Bytes in a backlog are then gone, as they are when the VM stops: a guest that needs
//!   to know that a message arrived waits for an answer before it powers off.
//!
//! The device does not watch `dial`. The main thread keeps a duplicate of that descriptor and waits for `EPOLLHUP` on it,
//! from before the guest runs until the VM stops, even if the driver never activates the device.

mod config;
mod connection;
mod dial;
mod engine;
mod header;
mod switch;
mod syscalls;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

pub use self::config::VsockConfig;
use self::engine::Engine;
use self::switch::Switch;
pub use self::syscalls::SYSCALLS;
use super::device::{Activation, VirtioDevice, read_fields};
use super::error::{ActivateError, LifecycleError};
use super::plan::{BuildError, Built, Claimed, Name, Plan, Site};
use super::queue::{ActiveQueue, Queues};
use crate::fds::{Access, FdError, InheritedFds};
use crate::range::{self, OutOfRange};
use crate::thread::ThreadKind;
use crate::virtio::worker::Worker;

/// Receive, transmit, event. Linux fills the receive queue with buffers of 4 KiB that take 8 KiB of the guest's memory
/// each, so this queue is what the device costs an idle guest. The event queue tells of migrations and stays unused.
const QUEUE_SIZES: [u16; 3] = [64, 64, 8];

impl Plan for VsockConfig {
    fn check(&self, _: &Name) -> Result<(), OutOfRange> {
        // The last is "any".
        range::check("vsock.guest_cid", self.guest_cid.into(), 3..=u64::from(u32::MAX - 1))
    }

    fn claim(&self, _: &Name, fds: &mut InheritedFds) -> Result<Box<dyn Claimed>, FdError> {
        let dial = fds.take(self.dial, "vsock.dial", Access::Both)?;
        Ok(Box::new(Ends { guest_cid: self.guest_cid, dial }))
    }
}

/// Both ends of all connections.
struct Ends {
    guest_cid: u32,
    dial: OwnedFd,
}

impl Claimed for Ends {
    fn build(self: Box<Self>, site: &mut Site<'_>) -> Result<Built, BuildError> {
        site.handles.launcher = Some(self.dial.try_clone()?);
        Ok(Built::new(Vsock::new(self.guest_cid, self.dial)?))
    }
}

/// The device.
pub struct Vsock {
    guest_cid: u64,
    dial: Arc<OwnedFd>,
    worker: Worker<Engine>,
}

impl Vsock {
    /// A device whose worker is parked. `guest_cid` and `dial` are those of [`crate::config::VsockConfig`].
    ///
    /// # Errors
    /// When the host gives no thread.
    pub fn new(guest_cid: u32, dial: OwnedFd) -> io::Result<Self> {
        let worker = Worker::spawn(ThreadKind::Worker(&SYSCALLS), "vsock")?;
        Ok(Self { guest_cid: guest_cid.into(), dial: Arc::new(dial), worker })
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    // No features: without them the device has streams only.

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_fields(&self.guest_cid.to_le_bytes(), offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Queues { memory, queues, interrupt } = activation.queues;
        let [receive, transmit, event]: [ActiveQueue; QUEUE_SIZES.len()] =
            queues.try_into().map_err(|_| io::Error::other("vsock has three queues"))?;
        let engine = Engine {
            memory,
            receive,
            transmit,
            _event: event,
            interrupt: Arc::clone(&interrupt),
            switch: Switch::new(self.guest_cid, Arc::clone(&self.dial)),
        };
        self.worker.start(engine, interrupt)
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
