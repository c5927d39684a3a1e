//! A device's interrupt line: the status register and the irqfd behind it.
//!
//! The line is edge-triggered, so the device does not wait for an acknowledgement. Every interrupt tells the driver to look
//! at its rings: `USED_RING` stays set in the status. A driver must bear with an interrupt for which it finds no used
//! buffer (virtio 1.2, section 2.7.7.3). The acknowledgement of `USED_RING` has no effect in return, so KVM swallows it:
//! an interrupt of a device costs no exit to user space.

use std::sync::atomic::{AtomicBool, Ordering};

use vmm_sys_util::eventfd::EventFd;

use super::registers::{INTERRUPT_STATUS, RegisterPage, STATUS};

/// Shared by a device, its worker and the transport.
pub struct Interrupt {
    registers: RegisterPage,
    needs_reset: AtomicBool,
    line: EventFd,
}

/// The device used a buffer (virtio 1.2, section 4.2.2, `InterruptStatus` bit 0).
pub const USED_RING: u32 = 1;
/// The device's configuration changed (bit 1).
pub const CONFIG_CHANGE: u32 = 2;

/// The device status bit of a device that stopped (virtio 1.2, section 2.1).
const DEVICE_NEEDS_RESET: u32 = 64;

impl Interrupt {
    /// A line that raises through `line`, an irqfd, and shows its causes in `registers`.
    pub fn with_registers(line: EventFd, registers: RegisterPage) -> Self {
        registers.store(INTERRUPT_STATUS, USED_RING);
        Self { registers, needs_reset: AtomicBool::new(false), line }
    }

    /// A line whose registers no guest sees.
    #[cfg(test)]
    pub fn new(line: EventFd) -> Self {
        Self::with_registers(line, RegisterPage::detached().expect("memory for a page"))
    }

    /// Tells the driver that buffers were used.
    pub fn signal_used(&self) {
        // An irqfd's counter cannot overflow: KVM reads it at once. Nothing could be done about an error here.
        let _ = self.line.write(1);
    }

    /// Tells the driver that the configuration space changed.
    pub fn signal_config_change(&self) {
        self.registers.set_bits(INTERRUPT_STATUS, CONFIG_CHANGE);
        let _ = self.line.write(1);
    }

    /// Tells the driver that the device stopped and needs a reset (virtio 1.2, section 2.1.2).
    pub fn signal_needs_reset(&self) {
        self.needs_reset.store(true, Ordering::SeqCst);
        self.registers.set_bits(STATUS, DEVICE_NEEDS_RESET);
        self.signal_config_change();
    }

    /// Whether the device stopped and needs a reset.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// Shows `status` to the driver, with the need for a reset if there is one.
    pub fn show_status(&self, status: u32) {
        self.registers.store(STATUS, status);
        // Looked at after the store: a worker that failed in between has set its bit before or sees it set here.
        if self.needs_reset() {
            self.registers.set_bits(STATUS, DEVICE_NEEDS_RESET);
        }
    }

    /// Back to an idle line of a working device. The device has stopped, so it does not signal meanwhile.
    pub fn reset(&self) {
        self.needs_reset.store(false, Ordering::SeqCst);
        self.registers.store(INTERRUPT_STATUS, USED_RING);
    }

    /// The causes that the driver has not acknowledged.
    pub fn status(&self) -> u32 {
        self.registers.load(INTERRUPT_STATUS)
    }

    /// Clears the causes that the driver acknowledged.
    pub fn acknowledge(&self, causes: u32) {
        self.registers.clear_bits(INTERRUPT_STATUS, causes & !USED_RING);
    }
}
