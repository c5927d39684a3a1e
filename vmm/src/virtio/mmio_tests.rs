use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::virtio::error::ActivateError;
use crate::virtio::interrupt::CONFIG_CHANGE;

const FEATURE: u64 = 1 << 3;

/// What was done to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Activated { features: u64, sizes: Vec<u16> },
    Reset,
    Config(u64, Vec<u8>),
}

struct Probe {
    log: Arc<Mutex<Vec<Done>>>,
    fails: bool,
}

impl VirtioDevice for Probe {
    fn device_type(&self) -> u32 {
        42
    }

    fn queue_sizes(&self) -> &[u16] {
        &[8, 16]
    }

    fn features(&self) -> u64 {
        FEATURE
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        data.fill(offset as u8);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.log.lock().unwrap().push(Done::Config(offset, data.to_vec()));
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let sizes = activation.queues.queues.iter().map(|queue| queue.queue.size()).collect();
        assert!(activation.queues.queues.iter().all(|queue| queue.queue.event_idx_enabled()));
        self.log.lock().unwrap().push(Done::Activated { features: activation.features, sizes });
        if self.fails { Err(std::io::Error::other("a test").into()) } else { Ok(()) }
    }

    fn pause(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        Ok(())
    }

    fn reset(&mut self) {
        self.log.lock().unwrap().push(Done::Reset);
    }
}

struct Rig {
    transport: Transport,
    page: RegisterPage,
    log: Arc<Mutex<Vec<Done>>>,
}

const RINGS: u32 = 0x10_0000;

impl Rig {
    fn new() -> Self {
        Self::failing(false)
    }

    fn failing(fails: bool) -> Self {
        let log = Arc::default();
        let event = || EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let page = RegisterPage::detached().unwrap();
        let memory = Arc::new(crate::memory::map(4 << 20).unwrap());
        let device = Box::new(Probe { log: Arc::clone(&log), fails });
        let transport =
            Transport::new(device, memory, event(), page.clone(), vec![event(), event()]).unwrap();
        Self { transport, page, log }
    }

    fn write(&mut self, register: u32, value: u32) -> &mut Self {
        self.transport.write(register.into(), &value.to_le_bytes());
        self
    }

    fn read(&self, register: u32) -> u32 {
        self.page.load(register)
    }

    fn done(&self) -> Vec<Done> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn features(&mut self, features: u64) -> &mut Self {
        self.write(STATUS, ACKNOWLEDGED).write(STATUS, DRIVEN);
        for half in 0..2 {
            self.write(DRIVER_FEATURES_SEL, half).write(DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        self.write(STATUS, NEGOTIATED)
    }

    /// As a driver does it, up to the queues.
    fn negotiate(&mut self) -> &mut Self {
        self.features(FEATURE | 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX)
    }

    fn queue(&mut self, index: u32, size: u32) -> &mut Self {
        let base = RINGS + index * 0x1000;
        self.write(QUEUE_SEL, index)
            .write(QUEUE_SIZE, size)
            .write(QUEUE_DESC_LOW, base)
            .write(QUEUE_DRIVER_LOW, base + 0x400)
            .write(QUEUE_DEVICE_LOW, base + 0x800)
            .write(QUEUE_READY, 1)
    }

    fn run(&mut self) -> &mut Self {
        self.negotiate().queue(0, 8).queue(1, 4).write(STATUS, RUNNING)
    }
}

#[test]
fn shows_what_it_is() {
    let mut rig = Rig::new();
    assert_eq!([MAGIC, VERSION, DEVICE_ID].map(|register| rig.read(register)), [0x7472_6976, 2, 42]);
    assert_eq!(rig.read(CONFIG + 8), 0x0808_0808);
    assert_eq!(rig.read(SHM_LEN_LOW), u32::MAX);
    assert_eq!(rig.read(QUEUE_SIZE_MAX), 8);
    assert_eq!(rig.write(QUEUE_SEL, 1).read(QUEUE_SIZE_MAX), 16);
    assert_eq!(rig.write(QUEUE_SEL, 2).read(QUEUE_SIZE_MAX), 0);
    assert_eq!(rig.write(DEVICE_FEATURES_SEL, 1).read(DEVICE_FEATURES), 1);
    assert_eq!(rig.write(DEVICE_FEATURES_SEL, 2).read(DEVICE_FEATURES), 0);
    assert_eq!(u64::from(rig.write(DEVICE_FEATURES_SEL, 0).read(DEVICE_FEATURES)) & 0xff, FEATURE);
}

#[test]
fn a_driver_that_does_it_right_gets_its_device() {
    let mut rig = Rig::new();
    rig.run();
    assert_eq!(rig.read(STATUS), RUNNING);
    let features = FEATURE | 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;
    assert_eq!(rig.done(), [Done::Activated { features, sizes: vec![8, 4] }]);
    rig.write(STATUS, 0);
    assert_eq!((rig.read(STATUS), rig.read(QUEUE_READY)), (0, 0));
    assert_eq!(rig.done(), [Done::Reset]);
    rig.run();
    assert_eq!(rig.done().len(), 1);
}

/// A place of no device takes no harm from its driver, and becomes a device and none again.
#[test]
fn a_device_comes_and_goes() {
    let mut rig = Rig::new();
    let device = || Box::new(Probe { log: Arc::clone(&rig.log), fails: false });
    let (first, second) = (device(), device());
    rig.transport.replace(Box::new(Absent)).unwrap();
    assert_eq!((rig.read(MAGIC), rig.read(DEVICE_ID)), (MAGIC_VALUE, 0));
    rig.done();
    rig.negotiate();
    rig.write(QUEUE_SEL, 0).write(QUEUE_SIZE, 8).write(QUEUE_READY, 1).write(STATUS, RUNNING);
    assert_eq!((rig.read(QUEUE_SIZE_MAX), rig.read(QUEUE_READY)), (0, 0));

    rig.transport.replace(first).unwrap();
    assert_eq!((rig.read(DEVICE_ID), rig.read(STATUS), rig.read(QUEUE_SIZE_MAX)), (42, 0, 8));
    rig.run();
    assert!(matches!(rig.done()[..], [Done::Activated { .. }]));
    rig.transport.replace(Box::new(Absent)).unwrap();
    // The driver has not noticed, goes on, and takes its device down in the end.
    assert_eq!((rig.done(), rig.read(DEVICE_ID), rig.read(STATUS)), (vec![Done::Reset], 0, 0));
    rig.write(QUEUE_NOTIFY, 0).write(QUEUE_SEL, 1).write(QUEUE_READY, 0).write(STATUS, 0);
    assert_eq!(rig.done(), []);

    rig.transport.replace(second).unwrap();
    rig.run();
    assert!(matches!(rig.done()[..], [Done::Activated { .. }]));
    // There are events for two queues.
    struct Big;
    impl VirtioDevice for Big {
        fn device_type(&self) -> u32 {
            1
        }
        fn queue_sizes(&self) -> &[u16] {
            &[8; 3]
        }
        fn features(&self) -> u64 {
            0
        }
        fn read_config(&self, _: u64, _: &mut [u8]) {}
        fn activate(&mut self, _: Activation) -> Result<(), ActivateError> {
            Ok(())
        }
        fn pause(&mut self) -> Result<(), LifecycleError> {
            Ok(())
        }
        fn resume(&mut self) -> Result<(), LifecycleError> {
            Ok(())
        }
        fn reset(&mut self) {}
    }
    assert!(rig.transport.replace(Box::new(Big)).is_err());
    assert_eq!((rig.done(), rig.read(STATUS)), (vec![], RUNNING));
}

#[test]
fn features_that_were_not_offered_or_without_version_1_are_refused() {
    for features in [0, FEATURE, 1 << VIRTIO_F_VERSION_1 | 1 << 4, 1 << VIRTIO_F_VERSION_1 | 1 << 63] {
        let mut rig = Rig::new();
        assert_eq!(rig.features(features).read(STATUS), DRIVEN, "{features:#x}");
        rig.queue(0, 8).queue(1, 8).write(STATUS, RUNNING);
        assert_eq!(rig.done(), []);
    }
}

#[test]
fn features_are_fixed_after_the_agreement() {
    let mut rig = Rig::new();
    rig.negotiate();
    rig.write(DRIVER_FEATURES_SEL, 0).write(DRIVER_FEATURES, 0);
    rig.queue(0, 8).queue(1, 8).write(STATUS, RUNNING);
    assert!(matches!(rig.done()[..], [Done::Activated { features, .. }] if features & FEATURE != 0));
}

/// CVE-2026-5747: what a running device was checked against does not change behind its back.
#[test]
fn queues_cannot_be_changed_once_the_device_runs() {
    let mut rig = Rig::new();
    rig.run().done();
    let before: Vec<_> = rig.transport.slots.iter().map(|slot| slot.queue.state()).collect();
    for index in 0..2 {
        rig.write(QUEUE_SEL, index);
        for register in (QUEUE_SIZE..=QUEUE_DEVICE_HIGH).step_by(4) {
            for value in [0, 1, 2, 0x20_0000, u32::MAX] {
                if !matches!(register, QUEUE_NOTIFY | INTERRUPT_ACK | STATUS) {
                    rig.write(register, value);
                }
            }
        }
    }
    let after: Vec<_> = rig.transport.slots.iter().map(|slot| slot.queue.state()).collect();
    assert_eq!(before, after);
    assert_eq!((rig.done(), rig.read(STATUS)), (vec![], RUNNING));
}

#[test]
fn a_queue_that_is_ready_is_fixed_too() {
    let mut rig = Rig::new();
    rig.negotiate().queue(0, 8);
    let before = rig.transport.slots[0].queue.state();
    rig.write(QUEUE_SIZE, 2).write(QUEUE_DESC_LOW, 0x20_0000);
    assert_eq!(before, rig.transport.slots[0].queue.state());
    rig.write(QUEUE_READY, 0);
    assert_eq!(rig.read(QUEUE_READY), 0);
    rig.queue(0, 2);
    assert_eq!(rig.transport.slots[0].queue.state().size, 2);
}

#[test]
fn impossible_queues_do_not_become_ready() {
    // Sizes: none, no power of two, too large; then rings behind the end of memory, and across it.
    for size in [0, 3, 32, 0x1_0008] {
        let mut rig = Rig::new();
        rig.negotiate().write(QUEUE_SIZE, size);
        assert_eq!(rig.transport.slots[0].queue.state().size, 8, "{size}");
    }
    for (register, value) in [
        (QUEUE_DESC_HIGH, 1),
        (QUEUE_DRIVER_HIGH, u32::MAX),
        (QUEUE_DEVICE_LOW, 0x3f_fff8),
        (QUEUE_DESC_LOW, 0x3f_fff0),
    ] {
        let mut rig = Rig::new();
        rig.negotiate().queue(0, 8).write(QUEUE_READY, 0).write(register, value).write(QUEUE_READY, 1);
        assert_eq!(rig.read(QUEUE_READY), 0, "{register:#x}");
        rig.queue(1, 8).write(STATUS, RUNNING);
        assert!(rig.transport.interrupt.needs_reset());
        assert_eq!(rig.done(), []);
    }
}

#[test]
fn a_device_without_all_queues_or_that_fails_needs_a_reset() {
    let mut rig = Rig::new();
    rig.negotiate().queue(0, 8).write(STATUS, RUNNING);
    assert_eq!((rig.read(STATUS), rig.done()), (RUNNING | 64, vec![]));
    assert_eq!(rig.read(INTERRUPT_STATUS) & 2, 2);
    rig.write(INTERRUPT_ACK, 3);
    assert_eq!(rig.read(INTERRUPT_STATUS) & 2, 0);
    rig.write(STATUS, 0).done();
    rig.run();
    assert_eq!((rig.read(STATUS), rig.done().len()), (RUNNING, 1));

    let mut rig = Rig::failing(true);
    assert_eq!(rig.run().read(STATUS), RUNNING | 64);
}

#[test]
fn the_status_goes_forward_by_the_table_only() {
    for (path, end) in [
        (vec![RUNNING], 0),
        (vec![NEGOTIATED], 0),
        (vec![ACKNOWLEDGED, NEGOTIATED], ACKNOWLEDGED),
        (vec![DRIVEN, RUNNING], DRIVEN),
        (vec![DRIVEN, ACKNOWLEDGED], DRIVEN),
        (vec![4], 0),
        (vec![DRIVEN, status::FAILED | DRIVEN, NEGOTIATED], DRIVEN | status::FAILED),
    ] {
        let mut rig = Rig::new();
        for value in &path {
            rig.write(STATUS, *value);
        }
        assert_eq!((rig.read(STATUS), rig.done()), (end, vec![]), "{path:?}");
    }
}

#[test]
fn writes_that_are_no_registers_do_nothing() {
    let mut rig = Rig::new();
    rig.transport.write(STATUS.into(), &[1]);
    rig.transport.write(u64::from(STATUS) + 1, &[1; 4]);
    rig.transport.write(STATUS.into(), &[1; 8]);
    rig.transport.write(u64::MAX, &[1; 4]);
    rig.transport.write(0, &[]);
    rig.write(MAGIC, 0).write(INTERRUPT_STATUS, 0);
    assert_eq!((rig.read(STATUS), rig.read(MAGIC)), (0, MAGIC_VALUE));
    rig.transport.write(0x104, &[1, 2]);
    assert_eq!(rig.done(), [Done::Config(4, vec![1, 2])]);
}

#[test]
fn a_driver_that_runs_hears_of_a_changed_configuration() {
    let mut rig = Rig::new();
    let (before, causes) = (rig.read(CONFIG_GENERATION), rig.read(INTERRUPT_STATUS));
    rig.negotiate().transport.config_changed();
    assert_eq!(rig.read(CONFIG_GENERATION), before + 1);
    assert_eq!(rig.read(INTERRUPT_STATUS), causes, "no driver runs yet");
    rig.queue(0, 8).queue(1, 4).write(STATUS, RUNNING).transport.config_changed();
    assert_eq!(rig.read(CONFIG_GENERATION), before + 2);
    assert_eq!(rig.read(INTERRUPT_STATUS), causes | CONFIG_CHANGE);
    rig.write(INTERRUPT_ACK, CONFIG_CHANGE);
    assert_eq!(rig.read(INTERRUPT_STATUS), causes);
}

/// The host pauses devices; what the driver does to a paused one takes it to a reset, as ever.
#[test]
fn a_paused_device_can_be_reset_and_replaced() {
    let mut rig = Rig::new();
    assert!(rig.transport.pause().is_err());
    rig.run().done();
    rig.transport.pause().unwrap();
    assert!(rig.transport.pause().is_err());
    rig.transport.resume().unwrap();
    rig.transport.pause().unwrap();
    rig.write(STATUS, 0);
    assert_eq!((rig.done(), rig.read(STATUS)), (vec![Done::Reset], 0));
    assert!(rig.transport.resume().is_err());
    rig.run().transport.pause().unwrap();
    rig.done();
    rig.transport.replace(Box::new(Absent)).unwrap();
    assert_eq!((rig.done(), rig.read(DEVICE_ID)), (vec![Done::Reset], 0));
}

proptest! {
    /// No write of a driver makes the transport panic, and a device only runs with queues that were checked.
    #[test]
    fn any_writes(writes in prop::collection::vec((0u32..0x110, prop_oneof![0u32..32, Just(RINGS), any::<u32>()]), 0..200)) {
        let mut rig = Rig::new();
        rig.negotiate();
        for (register, value) in writes {
            rig.write(register, value);
        }
        let running = rig.transport.status & status::DRIVER_OK != 0;
        if running && !rig.transport.interrupt.needs_reset() {
            prop_assert!(rig.transport.slots.iter().all(|slot| slot.queue.is_valid(&*rig.transport.memory)));
        }
    }
}
