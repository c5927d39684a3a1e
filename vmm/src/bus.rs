//! Where the guest's accesses to ports and device memory go, when KVM does not answer them itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::console::Console;
use crate::layout;
use crate::report::StopReason;
use crate::virtio::device::VirtioDevice;
use crate::virtio::mmio::Transport;

/// The devices, shared by all virtual CPUs.
pub struct Bus {
    virtio: Vec<Mutex<Transport>>,
    console: Option<Mutex<Console>>,
    /// Accesses to what is not there.
    unknown: AtomicU64,
}

impl Bus {
    /// A bus with these devices, the virtio ones in the order of their addresses.
    pub fn new(virtio: Vec<Transport>, console: Option<Console>) -> Self {
        Self {
            virtio: virtio.into_iter().map(Mutex::new).collect(),
            console: console.map(Mutex::new),
            unknown: AtomicU64::new(0),
        }
    }

    /// How many accesses there were to what is not there.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// The guest writes to a port; some writes end the VM.
    pub fn port_write(&self, port: u16, data: &[u8]) -> Option<StopReason> {
        match (port, data) {
            (layout::POWER_OFF_PORT, _) => Some(StopReason::PowerOff),
            (layout::KEYBOARD_COMMAND_PORT, [layout::KEYBOARD_RESET]) => Some(StopReason::Reset),
            _ => {
                match self.console_register(port) {
                    Some((mut console, register)) => {
                        // A string instruction brings many bytes for one register.
                        data.iter().for_each(|byte| console.write(register, *byte));
                    }
                    None => self.count_unknown(),
                }
                None
            }
        }
    }

    /// The guest reads from a port. Where nothing is, the lines of a PC float high.
    pub fn port_read(&self, port: u16, data: &mut [u8]) {
        match self.console_register(port) {
            Some((mut console, register)) => data.iter_mut().for_each(|byte| *byte = console.read(register)),
            // A keyboard controller that is ready for a command, or a reset would wait for it.
            None if port == layout::KEYBOARD_COMMAND_PORT => data.fill(0),
            None => {
                self.count_unknown();
                data.fill(0xff);
            }
        }
    }

    /// The guest writes to device memory.
    pub fn memory_write(&self, address: u64, data: &[u8]) {
        let offset = address.wrapping_sub(layout::VIRTIO_START);
        let device = usize::try_from(offset / layout::VIRTIO_SIZE).ok();
        match device.and_then(|index| self.virtio.get(index)) {
            Some(transport) => lock(transport).write(offset % layout::VIRTIO_SIZE, data),
            None => self.count_unknown(),
        }
    }

    /// The virtio device `index` shows something else in its configuration space; its driver is to be told.
    pub fn config_changed(&self, index: usize) {
        if let Some(transport) = self.virtio.get(index) {
            lock(transport).config_changed();
        }
    }

    /// Puts `device` in the place of the virtio device `index`, see [`Transport::replace`].
    ///
    /// # Errors
    /// When there is no such place, or the device does not fit there.
    pub fn replace(&self, index: usize, device: Box<dyn VirtioDevice>) -> Result<(), virtio_queue::Error> {
        let transport = self.virtio.get(index).ok_or(virtio_queue::Error::InvalidSize)?;
        lock(transport).replace(device)
    }

    /// The guest reads device memory. What can be read there is mapped, so this is where nothing is.
    pub fn memory_read(&self, data: &mut [u8]) {
        self.count_unknown();
        data.fill(0xff);
    }

    fn console_register(&self, port: u16) -> Option<(MutexGuard<'_, Console>, u8)> {
        let register = port.checked_sub(layout::SERIAL_PORT)?;
        if register >= layout::SERIAL_PORT_COUNT {
            return None;
        }
        Some((lock(self.console.as_ref()?), register as u8))
    }

    fn count_unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }
}

/// Registers are plain values: a panic leaves none of them half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_end_the_vm_and_ports_that_do_not() {
        let bus = Bus::new(Vec::new(), None);
        assert_eq!(bus.port_write(layout::POWER_OFF_PORT, &[0]), Some(StopReason::PowerOff));
        assert_eq!(bus.port_write(0x64, &[0xfe]), Some(StopReason::Reset));
        assert_eq!(bus.port_write(0x64, &[0xd1]), None);
        assert_eq!(bus.port_write(0x3f8, b"x"), None);
        assert_eq!(bus.port_write(0, &[]), None);
        assert_eq!(bus.unknown(), 3);
    }

    #[test]
    fn nothing_reads_as_ones_and_the_keyboard_as_ready() {
        let bus = Bus::new(Vec::new(), None);
        let mut data = [0; 4];
        bus.port_read(0xcf8, &mut data);
        assert_eq!(data, [0xff; 4]);
        bus.port_read(0x64, &mut data[..1]);
        assert_eq!(data[0], 0);
        for address in [0, layout::VIRTIO_START - 1, layout::VIRTIO_START, u64::MAX] {
            bus.memory_write(address, &[1; 8]);
        }
    }
}
