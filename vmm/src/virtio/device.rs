//! What a virtio device is to its transport.

use std::sync::Arc;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::interrupt::Interrupt;

/// A virtio device (virtio 1.2, section 5). The transport owns negotiation; when the driver sets `DRIVER_OK` it moves
/// everything the device needs into it with [`VirtioDevice::activate`].
pub trait VirtioDevice: Send {
    /// The device id of section 5.
    fn device_type(&self) -> u32;

    /// The maximum size of each queue; the number of entries is the number of queues.
    fn queue_sizes(&self) -> &[u16];

    /// The features that the device offers, without the transport's own (`VERSION_1`, ring features).
    fn features(&self) -> u64;

    /// Reads from the device's configuration space. What lies outside it reads as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes to the device's configuration space. Most devices have nothing that can be written.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// How many of the queues, the last ones, are served by the virtual CPU that kicks them, with
    /// [`VirtioDevice::kicked`]: the guest goes on when that is done, however long the device's own thread has to wait for
    /// the host's processor.
    fn immediate_queues(&self) -> usize {
        0
    }

    /// The driver has kicked such a queue.
    fn kicked(&mut self, _queue: usize) {}

    /// Starts the device: its queues are live from here on.
    ///
    /// # Errors
    /// When the device cannot start; the transport marks it as needing a reset.
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;

    /// Stops the device and waits until nothing of it touches guest memory any more. A stopped device can be
    /// activated again.
    fn reset(&mut self);
}

/// What moves into a device at activation.
pub struct Activation {
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
    /// The features that both sides agreed on.
    pub features: u64,
    /// The queues, checked and ready, in order; all of [`VirtioDevice::queue_sizes`].
    pub queues: Vec<ActiveQueue>,
    /// How the device reaches the driver.
    pub interrupt: Arc<Interrupt>,
}

/// A queue that the driver has set up.
pub struct ActiveQueue {
    /// The rings.
    pub queue: Queue,
    /// Signalled by KVM when the driver notifies the queue.
    pub kick: EventFd,
}

/// Why a device did not start.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// An event descriptor, epoll instance or thread could not be made.
    #[error("cannot start the device's worker: {0}")]
    Worker(#[from] std::io::Error),
}

/// Why a running device cannot go on: its worker drops it and tells the driver that it needs a reset.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The driver's rings are broken.
    #[error("broken queue: {0}")]
    Queue(#[from] virtio_queue::Error),
    /// The driver broke its side of the contract.
    #[error("broken driver: {0}")]
    Guest(&'static str),
    /// A system call of the device itself failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The device's code panicked.
    #[error("the device panicked")]
    Panic,
}
