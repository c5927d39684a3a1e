//! The registers of virtio-mmio (virtio 1.2, section 4.2.2), and the pages that hold what the guest reads from them.
//!
//! Each device's page is mapped into the guest for reading, and the transport keeps it up to date. So a read of a
//! register never leaves the guest: not in probing, and not in every interrupt, where the driver asks for the cause.
//! The transport sees writes only.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vm_memory::{MmapRegion, VolatileMemory};

use crate::{layout, memory};

/// "virt".
pub const MAGIC: u32 = 0x000;
/// The value of [`MAGIC`].
pub const MAGIC_VALUE: u32 = 0x7472_6976;
/// The version of the interface.
pub const VERSION: u32 = 0x004;
/// The value of [`VERSION`].
pub const VERSION_VALUE: u32 = 2;
/// The device's id.
pub const DEVICE_ID: u32 = 0x008;
/// Who made the device.
pub const VENDOR_ID: u32 = 0x00c;
/// "Moat", little-endian.
pub const VENDOR_VALUE: u32 = u32::from_le_bytes(*b"Moat");
/// 32 of the features that the device offers.
pub const DEVICE_FEATURES: u32 = 0x010;
/// Which.
pub const DEVICE_FEATURES_SEL: u32 = 0x014;
/// 32 of the features that the driver accepts.
pub const DRIVER_FEATURES: u32 = 0x020;
/// Which.
pub const DRIVER_FEATURES_SEL: u32 = 0x024;
/// Which queue the registers up to [`QUEUE_DEVICE_HIGH`] are about.
pub const QUEUE_SEL: u32 = 0x030;
/// The queue's largest size; 0 when there is no such queue.
pub const QUEUE_SIZE_MAX: u32 = 0x034;
/// The queue's size.
pub const QUEUE_SIZE: u32 = 0x038;
/// Whether the queue is in use.
pub const QUEUE_READY: u32 = 0x044;
/// The number of a queue with new buffers.
pub const QUEUE_NOTIFY: u32 = 0x050;
/// The causes of the interrupt.
pub const INTERRUPT_STATUS: u32 = 0x060;
/// The causes that the driver handled.
pub const INTERRUPT_ACK: u32 = 0x064;
/// The device status.
pub const STATUS: u32 = 0x070;
/// The descriptor table.
pub const QUEUE_DESC_LOW: u32 = 0x080;
/// Its upper half.
pub const QUEUE_DESC_HIGH: u32 = 0x084;
/// The available ring.
pub const QUEUE_DRIVER_LOW: u32 = 0x090;
/// Its upper half.
pub const QUEUE_DRIVER_HIGH: u32 = 0x094;
/// The used ring.
pub const QUEUE_DEVICE_LOW: u32 = 0x0a0;
/// Its upper half.
pub const QUEUE_DEVICE_HIGH: u32 = 0x0a4;
/// Length of the selected shared memory region, lower half; there is none, which reads as all ones.
pub const SHM_LEN_LOW: u32 = 0x0b0;
/// The last of its four registers.
pub const SHM_BASE_HIGH: u32 = 0x0bc;
/// Changes whenever several fields of the configuration space change together.
pub const CONFIG_GENERATION: u32 = 0x0fc;
/// The device's configuration space, up to the page's end.
pub const CONFIG: u32 = 0x100;

/// Registers whose writes have no effect before a later write: KVM may collect them, as (start, length). The driver
/// writes all the others of a queue before [`QUEUE_READY`], and its features before `FEATURES_OK`.
pub const DEFERRABLE: [(u32, u32); 3] = [
    (DRIVER_FEATURES, DRIVER_FEATURES_SEL + 4 - DRIVER_FEATURES),
    (QUEUE_SIZE, 4),
    (QUEUE_DESC_LOW, QUEUE_DEVICE_HIGH + 4 - QUEUE_DESC_LOW),
];

/// The pages of all devices of a VM, one behind the other as the guest sees them.
pub struct RegisterFile {
    region: Arc<MmapRegion>,
}

impl RegisterFile {
    /// Pages for `devices` devices.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(devices: usize) -> io::Result<Self> {
        Ok(Self { region: Arc::new(memory::map_anonymous(devices.max(1) * layout::VIRTIO_SIZE as usize)?) })
    }

    /// The page of the device `index`, if there is one.
    pub fn page(&self, index: usize) -> Option<RegisterPage> {
        let start = index.checked_mul(layout::VIRTIO_SIZE as usize)?;
        (start < self.region.size()).then(|| RegisterPage { region: Arc::clone(&self.region), start })
    }

    /// The mapping, to give to the VM.
    pub fn region(&self) -> &MmapRegion {
        &self.region
    }
}

/// What the guest reads from one device's registers. Clones are the same page.
#[derive(Clone)]
pub struct RegisterPage {
    region: Arc<MmapRegion>,
    start: usize,
}

impl RegisterPage {
    /// A page of its own that no guest sees, for drivers that are not guests.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn detached() -> io::Result<Self> {
        Ok(Self { region: Arc::new(memory::map_anonymous(layout::VIRTIO_SIZE as usize)?), start: 0 })
    }

    /// Reads a register. What lies outside the page reads as 0.
    pub fn load(&self, register: u32) -> u32 {
        self.with(register, |cell| cell.load(Ordering::SeqCst)).unwrap_or(0)
    }

    /// Changes what the guest reads.
    pub fn store(&self, register: u32, value: u32) {
        self.with(register, |cell| cell.store(value, Ordering::SeqCst));
    }

    /// Sets bits; returns what was there.
    pub fn set_bits(&self, register: u32, bits: u32) -> u32 {
        self.with(register, |cell| cell.fetch_or(bits, Ordering::SeqCst)).unwrap_or(0)
    }

    /// Clears bits.
    pub fn clear_bits(&self, register: u32, bits: u32) {
        self.with(register, |cell| cell.fetch_and(!bits, Ordering::SeqCst));
    }

    fn with<T>(&self, register: u32, access: impl FnOnce(&AtomicU32) -> T) -> Option<T> {
        if u64::from(register) >= layout::VIRTIO_SIZE {
            return None;
        }
        // Registers are aligned and the page was just checked, so this is always there.
        self.region.get_atomic_ref::<AtomicU32>(self.start + register as usize).ok().map(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_apart_and_clones_are_not() {
        let file = RegisterFile::new(2).unwrap();
        let (first, second) = (file.page(0).unwrap(), file.page(1).unwrap());
        first.store(STATUS, 1);
        second.clone().set_bits(STATUS, 6);
        second.clear_bits(STATUS, 2);
        assert_eq!((first.load(STATUS), second.load(STATUS)), (1, 4));
        assert!(file.page(2).is_none() && file.page(usize::MAX).is_none());
    }

    #[test]
    fn nothing_outside_the_page_is_reached() {
        let file = RegisterFile::new(1).unwrap();
        let page = file.page(0).unwrap();
        for register in [0x1000, 0x1001, u32::MAX, 0xffe] {
            page.store(register, 1);
            assert_eq!(page.load(register), 0);
        }
    }

    #[test]
    fn nothing_with_an_effect_of_its_own_is_deferred() {
        for register in
            [DEVICE_FEATURES_SEL, QUEUE_SEL, QUEUE_READY, QUEUE_NOTIFY, INTERRUPT_ACK, STATUS, CONFIG]
        {
            for (start, length) in DEFERRABLE {
                assert!(!(start..start + length).contains(&register), "{register:#x}");
            }
        }
    }
}
