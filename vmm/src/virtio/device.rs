//! What a virtio device is to its transport.

use super::error::{ActivateError, LifecycleError};
use super::queue::Queues;

/// A virtio device (virtio 1.2, section 5). The transport owns negotiation. When the driver sets `DRIVER_OK`, it moves
/// everything that the device needs into it with [`VirtioDevice::activate`]. [`super::lifecycle::Lifecycle`] says which
/// steps of a device's life follow which, and is their only caller.
pub trait VirtioDevice: Send {
    /// The device id of section 5.
    fn device_type(&self) -> u32;

    /// The maximum size of each queue; the number of entries is the number of queues.
    fn queue_sizes(&self) -> &[u16];

    /// The features that the device offers, without the transport's own (`VERSION_1`, ring features).
    fn features(&self) -> u64 {
        0
    }

    /// The device's configuration space. What lies outside it reads as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes to the device's configuration space. Most devices have nothing that can be written.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// How many of the queues, the last ones, are served by the virtual CPU that kicks them, with
    /// [`VirtioDevice::kicked`]. The guest goes on when that is done, even if the device's own thread waits for a processor
    /// of the host.
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

    /// Stops the device between two requests and keeps its queues. Nothing of the device touches guest memory when this
    /// returns.
    ///
    /// # Errors
    /// When the device broke before.
    fn pause(&mut self) -> Result<(), LifecycleError>;

    /// Goes on where the device paused.
    ///
    /// # Errors
    /// When the device's worker is gone.
    fn resume(&mut self) -> Result<(), LifecycleError>;

    /// The state of the paused device.
    ///
    /// # Errors
    /// Always, until a device implements it.
    fn save(&self) -> Result<SavedState, LifecycleError> {
        Err(LifecycleError::Unsupported("be saved"))
    }

    /// Takes a saved state over, and the queues that belong to it, without serving them yet.
    ///
    /// # Errors
    /// Always, until a device implements it.
    fn restore(&mut self, _saved: &SavedState, _activation: Activation) -> Result<(), LifecycleError> {
        Err(LifecycleError::Unsupported("be restored"))
    }

    /// Stops the device and waits until nothing of it touches guest memory any more. A stopped device can be activated
    /// again.
    fn reset(&mut self);
}

/// What moves into a device at activation.
pub struct Activation {
    /// The features that both sides agreed on.
    pub features: u64,
    /// The queues, checked and ready, in order; all of [`VirtioDevice::queue_sizes`].
    pub queues: Queues,
}

/// What a device needs to go on in another process. No device makes one yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// The version of the device's own format.
    pub version: u32,
    /// The state in that format.
    pub bytes: Vec<u8>,
}

/// Reads a configuration space that is `fields`: what [`VirtioDevice::read_config`] does for a device whose fields do not
/// change.
pub fn read_fields(fields: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|offset| fields.get(offset..)).unwrap_or_default();
    let count = rest.len().min(data.len());
    data.fill(0);
    data[..count].copy_from_slice(&rest[..count]);
}
