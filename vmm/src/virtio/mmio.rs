//! The virtio-mmio transport (virtio 1.2, section 4.2). It negotiates with the driver and moves the queues into the device
//! when both are done. The driver reads registers from a [`RegisterPage`]; only its writes arrive here.

use std::sync::Arc;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::absent::Absent;
use super::device::{Activation, VirtioDevice};
use super::error::LifecycleError;
use super::interrupt::Interrupt;
use super::lifecycle::Lifecycle;
use super::queue::{ActiveQueue, Queues};
use super::registers::*;
use crate::{layout, log};

/// Device status bits (virtio 1.2, section 2.1).
mod status {
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 2;
    pub const DRIVER_OK: u32 = 4;
    pub const FEATURES_OK: u32 = 8;
    pub const FAILED: u32 = 128;
}

/// What is done with a new status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Only remembered.
    Note,
    /// The driver's features are judged.
    Negotiate,
    /// The device starts.
    Activate,
}

const ACKNOWLEDGED: u32 = status::ACKNOWLEDGE;
const DRIVEN: u32 = ACKNOWLEDGED | status::DRIVER;
const NEGOTIATED: u32 = DRIVEN | status::FEATURES_OK;
const RUNNING: u32 = NEGOTIATED | status::DRIVER_OK;

/// The legal steps forward (virtio 1.2, section 3.1.1). `FAILED` and, by writing 0, a reset are legal in every state.
const STEPS: [(u32, u32, Step); 5] = [
    (0, ACKNOWLEDGED, Step::Note),
    (0, DRIVEN, Step::Note),
    (ACKNOWLEDGED, DRIVEN, Step::Note),
    (DRIVEN, NEGOTIATED, Step::Negotiate),
    (NEGOTIATED, RUNNING, Step::Activate),
];

/// A device's queue and the event that its driver kicks.
struct Slot {
    queue: Queue,
    kick: EventFd,
}

/// One device behind its registers.
pub struct Transport {
    device: Lifecycle,
    memory: Arc<GuestMemoryMmap>,
    interrupt: Arc<Interrupt>,
    registers: RegisterPage,
    slots: Vec<Slot>,
    /// Events wired for more queues than the device has.
    unused: Vec<EventFd>,
    offered: u64,
    accepted: u64,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    status: u32,
}

impl Transport {
    /// A transport for `device`. `kicks` has an event for each of its queues, and of those of any device that is to
    /// replace it; `line` is its interrupt, and the guest reads `registers`.
    ///
    /// # Errors
    /// When the device's queue sizes are not what virtio allows.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        memory: Arc<GuestMemoryMmap>,
        line: EventFd,
        registers: RegisterPage,
        kicks: Vec<EventFd>,
    ) -> Result<Self, virtio_queue::Error> {
        let interrupt = Arc::new(Interrupt::with_registers(line, registers.clone()));
        let mut transport = Self {
            device: Lifecycle::new(Box::new(Absent)),
            memory,
            interrupt,
            registers,
            slots: Vec::new(),
            unused: kicks,
            offered: 0,
            accepted: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            status: 0,
        };
        transport.replace(device)?;
        Ok(transport)
    }

    /// Puts another device in the place of the one that is there, which is stopped first. A driver that still uses that
    /// one finds the new one as after a reset, and nothing of the old one's memory is touched any more.
    ///
    /// # Errors
    /// When the device's queue sizes are not what virtio allows; then nothing has changed.
    pub fn replace(&mut self, device: Box<dyn VirtioDevice>) -> Result<(), virtio_queue::Error> {
        let queues: Vec<Queue> =
            device.queue_sizes().iter().map(|size| Queue::new(*size)).collect::<Result<_, _>>()?;
        if queues.len() > self.slots.len() + self.unused.len() {
            return Err(virtio_queue::Error::InvalidSize);
        }
        self.reset();
        let mut kicks =
            self.slots.drain(..).map(|slot| slot.kick).chain(self.unused.drain(..)).collect::<Vec<_>>();
        self.unused = kicks.split_off(queues.len());
        self.slots = queues.into_iter().zip(kicks).map(|(queue, kick)| Slot { queue, kick }).collect();
        for kick in &self.unused {
            // A kick meant for the device that was there.
            let _ = kick.read();
        }
        self.offered = device.features()
            | 1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC;
        self.device = Lifecycle::new(device);
        self.show_identity();
        self.show_selected();
        self.show_config();
        Ok(())
    }

    /// The driver writes `data` at `offset` of the device's page.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(register) = u32::try_from(offset) else { return };
        if register >= CONFIG {
            self.device.write_config(offset - u64::from(CONFIG), data);
            self.show_config();
        } else if let (Ok(bytes), 0) = (<[u8; 4]>::try_from(data), register % 4) {
            self.write_register(register, u32::from_le_bytes(bytes));
        }
        // Registers have no other width (virtio 1.2, section 4.2.2.2).
    }

    fn write_register(&mut self, register: u32, value: u32) {
        match register {
            DEVICE_FEATURES_SEL => {
                self.device_features_sel = value;
                self.show_selected();
            }
            DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            QUEUE_SEL => {
                self.queue_sel = value;
                self.show_selected();
            }
            INTERRUPT_ACK => self.interrupt.acknowledge(value),
            STATUS => self.write_status(value),
            // Where KVM's ioeventfd did not match: a queue that is served here, or one that is not there.
            QUEUE_NOTIFY => self.device.kicked(value as usize),
            DRIVER_FEATURES => self.write_features(value),
            QUEUE_SIZE..=QUEUE_DEVICE_HIGH => self.write_queue(register, value),
            _ => {}
        }
    }

    fn write_features(&mut self, value: u32) {
        if self.status != DRIVEN {
            return self.refuse("writes features out of order");
        }
        // Above bit 63 nothing is offered, so a driver can only write zeros there.
        if let shift @ (0 | 32) = self.driver_features_sel.saturating_mul(32) {
            self.accepted &= !(0xffff_ffff << shift);
            self.accepted |= u64::from(value) << shift;
        }
    }

    /// Queues can be set up between the agreement on features and the device's start, and at no other time: a running
    /// device has its own copy, and what it was checked against must not change.
    fn write_queue(&mut self, register: u32, value: u32) {
        if self.status != NEGOTIATED {
            // Drivers that give a device up take its queues down after the reset, which did so already.
            if (register, value, self.status) == (QUEUE_READY, 0, 0) {
                return;
            }
            return self.refuse("sets up a queue out of order");
        }
        let Some(slot) = self.slots.get_mut(self.queue_sel as usize) else {
            return self.refuse("sets up a queue that does not exist");
        };
        let queue = &mut slot.queue;
        if register == QUEUE_READY {
            queue.set_ready(value == 1);
            // Size, alignment and that all of it is guest memory.
            let usable = value == 0 || queue.is_valid(&*self.memory);
            queue.set_ready(value == 1 && usable);
            self.show_selected();
            if !usable {
                self.refuse("sets up a queue outside its memory");
            }
            return;
        }
        if queue.ready() {
            return self.refuse("changes a queue that is in use");
        }
        // An address without alignment and a size that is no power of two are not taken over.
        let taken = match register {
            QUEUE_SIZE => u16::try_from(value).is_ok_and(|size| queue.try_set_size(size).is_ok()),
            QUEUE_DESC_LOW => queue.try_set_desc_table_address(low(queue.desc_table(), value)).is_ok(),
            QUEUE_DESC_HIGH => queue.try_set_desc_table_address(high(queue.desc_table(), value)).is_ok(),
            QUEUE_DRIVER_LOW => queue.try_set_avail_ring_address(low(queue.avail_ring(), value)).is_ok(),
            QUEUE_DRIVER_HIGH => queue.try_set_avail_ring_address(high(queue.avail_ring(), value)).is_ok(),
            QUEUE_DEVICE_LOW => queue.try_set_used_ring_address(low(queue.used_ring(), value)).is_ok(),
            QUEUE_DEVICE_HIGH => queue.try_set_used_ring_address(high(queue.used_ring(), value)).is_ok(),
            _ => true,
        };
        if !taken {
            self.refuse("gives a queue an impossible size or address");
        }
    }

    fn write_status(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        // Drivers write back what they read, with the device's own bit in it.
        let value = value & (RUNNING | status::FAILED);
        if value & status::FAILED != 0 {
            self.status |= status::FAILED;
        } else if value != self.status {
            let step = STEPS.iter().find(|(from, to, _)| (*from, *to) == (self.status, value));
            match step.map(|(_, _, step)| *step) {
                Some(Step::Note) => self.status = value,
                Some(Step::Negotiate) => {
                    let required = 1 << VIRTIO_F_VERSION_1;
                    // Without the bit the driver sees that its choice was refused.
                    if self.accepted & !self.offered == 0 && self.accepted & required != 0 {
                        self.status = value;
                    }
                }
                Some(Step::Activate) => self.activate(value),
                None => self.refuse("takes an illegal step in the device status"),
            }
        }
        self.interrupt.show_status(self.status);
    }

    fn activate(&mut self, value: u32) {
        self.status = value;
        match self.take_queues() {
            Some(queues) => {
                let interrupt = Arc::clone(&self.interrupt);
                let queues = Queues { memory: Arc::clone(&self.memory), queues, interrupt };
                let activation = Activation { features: self.accepted, queues };
                if let Err(error) = self.device.activate(activation) {
                    log::guest(format_args!("virtio device {}: {error}", self.device.device().device_type()));
                    self.interrupt.signal_needs_reset();
                }
                self.show_config();
            }
            None => {
                self.refuse("starts its device without all queues");
                self.interrupt.signal_needs_reset();
            }
        }
    }

    /// Copies of the queues for the device, if all of them are set up.
    fn take_queues(&self) -> Option<Vec<ActiveQueue>> {
        let event_idx = self.accepted & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        self.slots
            .iter()
            .map(|slot| {
                let mut state = slot.queue.state();
                state.event_idx_enabled = event_idx;
                let queue = Queue::try_from(state).ok().filter(|queue| queue.is_valid(&*self.memory))?;
                Some(ActiveQueue { queue, kick: slot.kick.try_clone().ok()? })
            })
            .collect()
    }

    /// Stops the device between two requests, see [`Lifecycle::pause`]. The virtual CPUs stand still meanwhile. A driver that
    /// writes to a paused device all the same can reset it, and its kicks wait.
    ///
    /// # Errors
    /// When the device does not run, or is broken.
    pub fn pause(&mut self) -> Result<(), LifecycleError> {
        self.device.pause()
    }

    /// Lets a paused device go on.
    ///
    /// # Errors
    /// When the device is not paused, or its worker is gone.
    pub fn resume(&mut self) -> Result<(), LifecycleError> {
        self.device.resume()
    }

    /// Stops the device, waits for what it has under way, and forgets all that was negotiated.
    fn reset(&mut self) {
        self.device.reset();
        self.interrupt.reset();
        for slot in &mut self.slots {
            slot.queue.reset();
            // A kick meant for the device as it was.
            let _ = slot.kick.read();
        }
        self.accepted = 0;
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.queue_sel = 0;
        self.status = 0;
        self.interrupt.show_status(0);
        self.show_selected();
        self.show_config();
    }

    fn refuse(&self, what: &str) {
        log::guest(format_args!(
            "virtio device {}: the driver {what} (status {:#x})",
            self.device.device().device_type(),
            self.status
        ));
    }

    /// The device's configuration space has changed by itself: shows it, and tells the driver if there is one. A driver
    /// that comes later reads what is there then.
    pub fn config_changed(&mut self) {
        let generation = self.registers.load(CONFIG_GENERATION);
        self.registers.store(CONFIG_GENERATION, generation.wrapping_add(1));
        self.show_config();
        if self.status == RUNNING {
            self.interrupt.signal_config_change();
        }
    }

    fn show_identity(&self) {
        self.registers.store(MAGIC, MAGIC_VALUE);
        self.registers.store(VERSION, VERSION_VALUE);
        self.registers.store(DEVICE_ID, self.device.device().device_type());
        self.registers.store(VENDOR_ID, VENDOR_VALUE);
        for register in (SHM_LEN_LOW..=SHM_BASE_HIGH).step_by(4) {
            self.registers.store(register, u32::MAX);
        }
    }

    /// What the selectors select.
    fn show_selected(&mut self) {
        let features = match self.device_features_sel {
            0 => self.offered as u32,
            1 => (self.offered >> 32) as u32,
            _ => 0,
        };
        self.registers.store(DEVICE_FEATURES, features);
        let queue = self.slots.get(self.queue_sel as usize).map(|slot| &slot.queue);
        self.registers.store(QUEUE_SIZE_MAX, queue.map_or(0, |queue| queue.max_size().into()));
        self.registers.store(QUEUE_READY, queue.is_some_and(|queue| queue.ready()).into());
    }

    fn show_config(&self) {
        for register in (CONFIG..CONFIG + CONFIG_SIZE).step_by(4) {
            let mut bytes = [0; 4];
            self.device.device().read_config(u64::from(register - CONFIG), &mut bytes);
            self.registers.store(register, u32::from_le_bytes(bytes));
        }
    }
}

/// As much configuration space as the largest device has, in bytes (block: 96).
const CONFIG_SIZE: u32 = 128;
const _: () = assert!((CONFIG + CONFIG_SIZE) as u64 <= layout::VIRTIO_SIZE);

fn low(address: u64, value: u32) -> GuestAddress {
    GuestAddress(address & !0xffff_ffff | u64::from(value))
}

fn high(address: u64, value: u32) -> GuestAddress {
    GuestAddress(address & 0xffff_ffff | u64::from(value) << 32)
}

#[cfg(test)]
#[path = "mmio_tests.rs"]
mod tests;
