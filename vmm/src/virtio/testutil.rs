//! A driver for tests: sets a device's queues up in plain memory and plays the guest's part, without KVM.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::device::{Activation, VirtioDevice};
use super::interrupt::Interrupt;
use super::lifecycle::Lifecycle;
use super::queue::{ActiveQueue, Queues};
use crate::devices::TABLE;

/// How much memory the driver's machine has.
pub const MEMORY: u64 = 16 << 20;
/// Each queue has its rings here, one after the other.
const RINGS: u64 = 0x1_0000;
const RING_SPACE: u64 = 0x4000;
/// Buffers are handed out from here on.
const BUFFERS: u64 = 0x10_0000;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A part of a chain.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// Bytes for the device to read.
    Read(&'a [u8]),
    /// Room of so many bytes for the device to write.
    Write(u32),
}

/// One queue as the driver sees it.
struct Ring {
    base: u64,
    size: u16,
    next_descriptor: u16,
    available: u16,
    seen: u16,
    kick: EventFd,
}

impl Ring {
    fn descriptors(&self) -> u64 {
        self.base
    }

    fn available_ring(&self) -> u64 {
        self.base + 16 * u64::from(self.size)
    }

    fn used_ring(&self) -> u64 {
        (self.available_ring() + 6 + 2 * u64::from(self.size)).next_multiple_of(4)
    }
}

/// A driver with its device.
pub struct Driver {
    /// Taken out by a restart only.
    device: Option<Lifecycle>,
    memory: Arc<GuestMemoryMmap>,
    features: u64,
    rings: Vec<Ring>,
    next_buffer: u64,
    /// The writable buffers of each chain in use, by queue and head.
    room: HashMap<u16, Vec<(u64, u32)>>,
    interrupt: Arc<Interrupt>,
    line: EventFd,
}

impl Driver {
    /// Activates `device` with `features` and rings of their largest size.
    pub fn start(device: impl VirtioDevice + 'static, features: u64) -> Self {
        Self::activate(Lifecycle::new(Box::new(device)), features)
    }

    /// Resets the device and activates it anew, with empty memory.
    pub fn restart(mut self) -> Self {
        let mut device = self.device.take().unwrap();
        device.reset();
        Self::activate(device, self.features)
    }

    fn activate(mut device: Lifecycle, features: u64) -> Self {
        watch_for_panics();
        let memory = Arc::new(crate::memory::map(MEMORY).unwrap());
        let line = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let interrupt = Arc::new(Interrupt::new(line.try_clone().unwrap()));
        let mut rings = Vec::new();
        let mut queues = Vec::new();
        for (index, size) in device.device().queue_sizes().iter().copied().enumerate() {
            let kick = EventFd::new(libc::EFD_NONBLOCK).unwrap();
            let base = RINGS + index as u64 * RING_SPACE;
            let ring = Ring { base, size, next_descriptor: 0, available: 0, seen: 0, kick };
            let mut queue = Queue::new(size).unwrap();
            queue.try_set_desc_table_address(GuestAddress(ring.descriptors())).unwrap();
            queue.try_set_avail_ring_address(GuestAddress(ring.available_ring())).unwrap();
            queue.try_set_used_ring_address(GuestAddress(ring.used_ring())).unwrap();
            queue.set_event_idx(features & 1 << VIRTIO_RING_F_EVENT_IDX != 0);
            queue.set_ready(true);
            assert!(queue.is_valid(&*memory));
            queues.push(ActiveQueue { queue, kick: ring.kick.try_clone().unwrap() });
            rings.push(ring);
        }
        let queues = Queues { memory: Arc::clone(&memory), queues, interrupt: Arc::clone(&interrupt) };
        device.activate(Activation { features, queues }).unwrap();
        Self {
            device: Some(device),
            memory,
            features,
            rings,
            next_buffer: BUFFERS,
            room: HashMap::new(),
            interrupt,
            line,
        }
    }

    /// The device, to take it through its life.
    pub fn lifecycle(&mut self) -> &mut Lifecycle {
        self.device.as_mut().unwrap()
    }

    /// An activation like the one that the device got, without queues.
    pub fn activation(&self) -> Activation {
        let (memory, interrupt) = (Arc::clone(&self.memory), Arc::clone(&self.interrupt));
        Activation { features: self.features, queues: Queues { memory, queues: Vec::new(), interrupt } }
    }

    /// The machine's memory.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Makes a chain available; returns its head.
    pub fn add(&mut self, queue: usize, parts: &[Part<'_>]) -> u16 {
        let raw: Vec<_> = parts
            .iter()
            .map(|part| {
                let length = match part {
                    Part::Read(bytes) => bytes.len() as u32,
                    Part::Write(length) => *length,
                };
                let address = self.next_buffer;
                // A gap in between shows writes that go too far.
                self.next_buffer = (address + u64::from(length) + 64).next_multiple_of(16);
                if let Part::Read(bytes) = part {
                    self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
                }
                (address, length, matches!(part, Part::Write(_)))
            })
            .collect();
        self.add_raw(queue, &raw)
    }

    /// Makes a chain of (address, length, writable) available, without a check; returns its head.
    pub fn add_raw(&mut self, queue: usize, parts: &[(u64, u32, bool)]) -> u16 {
        let ring = &mut self.rings[queue];
        let head = ring.next_descriptor;
        for (index, (address, length, writable)) in parts.iter().enumerate() {
            let number = ring.next_descriptor % ring.size;
            ring.next_descriptor = (number + 1) % ring.size;
            let more = index + 1 < parts.len();
            let flags = if *writable { WRITE } else { 0 } | if more { NEXT } else { 0 };
            write_descriptor(
                &self.memory,
                ring.descriptors() + 16 * u64::from(number),
                *address,
                *length,
                flags,
                ring.next_descriptor,
            );
        }
        let room = parts.iter().filter(|part| part.2).map(|part| (part.0, part.1)).collect();
        self.room.insert(head, room);
        self.make_available(queue, head);
        head
    }

    /// Puts `head` into the available ring, without a check.
    pub fn make_available(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let slot = ring.available_ring() + 4 + 2 * u64::from(ring.available % ring.size);
        self.memory.write_obj(head, GuestAddress(slot)).unwrap();
        ring.available = ring.available.wrapping_add(1);
        self.memory.write_obj(ring.available, GuestAddress(ring.available_ring() + 2)).unwrap();
    }

    /// Writes a descriptor into a queue's table, without a check.
    pub fn set_descriptor(
        &self,
        queue: usize,
        number: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let at = self.rings[queue].descriptors() + 16 * u64::from(number);
        write_descriptor(&self.memory, at, address, length, flags, next);
    }

    /// Tells the available index of a queue to the device, without a check.
    pub fn set_available_index(&self, queue: usize, index: u16) {
        self.memory.write_obj(index, GuestAddress(self.rings[queue].available_ring() + 2)).unwrap();
    }

    /// Tells the device about new buffers.
    pub fn kick(&mut self, queue: usize) {
        let device = self.device.as_mut().unwrap();
        if queue + device.device().immediate_queues() < self.rings.len() {
            self.rings[queue].kick.write(1).unwrap();
        } else {
            device.kicked(queue);
        }
    }

    /// The next chain that the device gave back: its head, and how many bytes were written.
    pub fn try_used(&mut self, queue: usize) -> Option<(u16, u32)> {
        let ring = &mut self.rings[queue];
        let index: u16 = self.memory.read_obj(GuestAddress(ring.used_ring() + 2)).unwrap();
        if index == ring.seen {
            return None;
        }
        let slot = ring.used_ring() + 4 + 8 * u64::from(ring.seen % ring.size);
        ring.seen = ring.seen.wrapping_add(1);
        let head: u32 = self.memory.read_obj(GuestAddress(slot)).unwrap();
        Some((head as u16, self.memory.read_obj(GuestAddress(slot + 4)).unwrap()))
    }

    /// As [`Driver::try_used`], when the device is expected to give one back.
    pub fn wait_used(&mut self, queue: usize) -> (u16, u32) {
        wait_for(|| self.try_used(queue))
    }

    /// The contents of a chain's writable buffers.
    pub fn written(&self, head: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (address, length) in &self.room[&head] {
            let mut part = vec![0; *length as usize];
            self.memory.read_slice(&mut part, GuestAddress(*address)).unwrap();
            bytes.extend(part);
        }
        bytes
    }

    /// Waits until the device says that it needs a reset.
    pub fn wait_needs_reset(&self) {
        wait_for(|| self.interrupt.needs_reset().then_some(()));
    }

    /// Whether the device says that it needs a reset.
    pub fn needs_reset(&self) -> bool {
        self.interrupt.needs_reset()
    }

    /// Whether there was an interrupt since the last call.
    pub fn interrupted(&self) -> bool {
        match self.line.read() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        assert!(!PANICKED.load(Ordering::SeqCst) || std::thread::panicking(), "a device panicked");
    }
}

static PANICKED: AtomicBool = AtomicBool::new(false);

/// A worker catches its handler's panic. Without this, a test would take it for a device that found its driver broken.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            let devices = TABLE.iter().flat_map(|row| [row.name, row.syscalls.device]);
            if devices.into_iter().any(|device| name.starts_with(device)) {
                PANICKED.store(true, Ordering::SeqCst);
            }
            report(panic);
        }));
    });
}

fn write_descriptor(memory: &GuestMemoryMmap, at: u64, address: u64, length: u32, flags: u16, next: u16) {
    memory.write_obj(address, GuestAddress(at)).unwrap();
    memory.write_obj(length, GuestAddress(at + 8)).unwrap();
    memory.write_obj(flags, GuestAddress(at + 12)).unwrap();
    memory.write_obj(next, GuestAddress(at + 14)).unwrap();
}

/// Devices answer from their own thread; a minute is only for machines that stand still.
fn wait_for<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "the device does not answer");
        std::thread::sleep(Duration::from_micros(100));
    }
}
