//! A device's interrupt line: the status register and the irqfd behind it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

/// Shared by a device, its worker and the transport.
pub struct Interrupt {
    status: AtomicU32,
    needs_reset: AtomicBool,
    line: EventFd,
}

/// The device used a buffer (virtio 1.2, section 4.2.2, `InterruptStatus` bit 0).
pub const USED_RING: u32 = 1;
/// The device's configuration changed (bit 1).
pub const CONFIG_CHANGE: u32 = 2;

impl Interrupt {
    /// An idle line that raises through `line`, an irqfd.
    pub fn new(line: EventFd) -> Self {
        Self { status: AtomicU32::new(0), needs_reset: AtomicBool::new(false), line }
    }

    /// Tells the driver that buffers were used.
    pub fn signal_used(&self) {
        self.raise(USED_RING);
    }

    /// Tells the driver that the configuration space changed.
    pub fn signal_config_change(&self) {
        self.raise(CONFIG_CHANGE);
    }

    /// Tells the driver that the device stopped and needs a reset (virtio 1.2, section 2.1.2).
    pub fn signal_needs_reset(&self) {
        self.needs_reset.store(true, Ordering::SeqCst);
        self.raise(CONFIG_CHANGE);
    }

    /// Whether the device stopped and needs a reset.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// Back to an idle line of a working device.
    pub fn reset(&self) {
        self.needs_reset.store(false, Ordering::SeqCst);
        self.status.store(0, Ordering::SeqCst);
    }

    fn raise(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        // An irqfd's counter cannot overflow: KVM reads it at once. Nothing could be done about an error here.
        let _ = self.line.write(1);
    }

    /// The causes that the driver has not acknowledged.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// Clears the causes that the driver acknowledged.
    pub fn acknowledge(&self, causes: u32) {
        self.status.fetch_and(!causes, Ordering::SeqCst);
    }
}
