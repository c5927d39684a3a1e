//! Each step from each state, with a device that only notes what is done to it, and with a real one over a driver in plain
//! memory. How each device goes on after a pause stands in its own tests.

use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::error::ActivateError;
use crate::virtio::rng::Rng;
use crate::virtio::testutil::{Driver, Part};

/// What was done to the device.
type Log = Arc<Mutex<Vec<&'static str>>>;

struct Probe {
    log: Log,
    broken: bool,
}

impl Probe {
    fn note(&self, step: &'static str) {
        self.log.lock().unwrap().push(step);
    }
}

impl VirtioDevice for Probe {
    fn device_type(&self) -> u32 {
        42
    }

    fn queue_sizes(&self) -> &[u16] {
        &[8]
    }

    fn read_config(&self, _: u64, _: &mut [u8]) {}

    fn immediate_queues(&self) -> usize {
        1
    }

    fn kicked(&mut self, _: usize) {
        self.note("kicked");
    }

    fn activate(&mut self, _: Activation) -> Result<(), ActivateError> {
        self.note("activate");
        Ok(())
    }

    fn pause(&mut self) -> Result<(), LifecycleError> {
        self.note("pause");
        if self.broken { Err(LifecycleError::Broken) } else { Ok(()) }
    }

    fn resume(&mut self) -> Result<(), LifecycleError> {
        self.note("resume");
        Ok(())
    }

    fn reset(&mut self) {
        self.note("reset");
    }
}

/// A driver whose device runs.
fn running(broken: bool) -> (Driver, Log) {
    let log = Log::default();
    let driver = Driver::start(Probe { log: Arc::clone(&log), broken }, 0);
    assert_eq!(done(&log), ["activate"]);
    (driver, log)
}

fn done(log: &Log) -> Vec<&'static str> {
    std::mem::take(&mut log.lock().unwrap())
}

fn saved() -> SavedState {
    SavedState { version: 1, bytes: Vec::new() }
}

/// That a step from `state` is refused, by the life and not by the device, and changes nothing.
fn illegal<T>(outcome: Result<T, LifecycleError>, state: State) {
    match outcome {
        Err(LifecycleError::Illegal { state: found, .. }) => assert_eq!(found, state),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("legal from {state}"),
    }
}

#[test]
fn an_idle_device_can_be_activated_and_reset() {
    let (mut driver, log) = running(false);
    driver.lifecycle().reset();
    assert_eq!(done(&log), ["reset"]);
    illegal(driver.lifecycle().pause(), State::Idle);
    illegal(driver.lifecycle().resume(), State::Idle);
    illegal(driver.lifecycle().save(), State::Idle);
    driver.lifecycle().kicked(0);
    assert!(done(&log).is_empty());
    driver.lifecycle().reset();
    assert_eq!((driver.lifecycle().state(), done(&log)), (State::Idle, vec!["reset"]));
    let mut driver = driver.restart();
    assert_eq!((driver.lifecycle().state(), done(&log)), (State::Running, vec!["reset", "activate"]));
}

#[test]
fn a_running_device_can_be_paused_and_reset() {
    let (mut driver, log) = running(false);
    let activation = || driver.activation();
    let (first, second) = (activation(), activation());
    illegal(driver.lifecycle().activate(first), State::Running);
    illegal(driver.lifecycle().resume(), State::Running);
    illegal(driver.lifecycle().save(), State::Running);
    illegal(driver.lifecycle().restore(&saved(), second), State::Running);
    assert!(done(&log).is_empty());
    driver.lifecycle().kicked(0);
    driver.lifecycle().pause().unwrap();
    assert_eq!((driver.lifecycle().state(), done(&log)), (State::Paused, vec!["kicked", "pause"]));
}

#[test]
fn a_paused_device_can_be_resumed_and_reset() {
    let (mut driver, log) = running(false);
    driver.lifecycle().pause().unwrap();
    let (first, second) = (driver.activation(), driver.activation());
    illegal(driver.lifecycle().activate(first), State::Paused);
    illegal(driver.lifecycle().pause(), State::Paused);
    illegal(driver.lifecycle().restore(&saved(), second), State::Paused);
    driver.lifecycle().kicked(0);
    assert_eq!(done(&log), ["pause"]);
    driver.lifecycle().resume().unwrap();
    assert_eq!((driver.lifecycle().state(), done(&log)), (State::Running, vec!["resume"]));
    driver.lifecycle().pause().unwrap();
    driver.lifecycle().reset();
    assert_eq!((driver.lifecycle().state(), done(&log)), (State::Idle, vec!["pause", "reset"]));
}

#[test]
fn no_device_can_be_saved_or_restored_yet_and_its_state_stays() {
    let (mut driver, _) = running(false);
    driver.lifecycle().pause().unwrap();
    assert!(matches!(driver.lifecycle().save(), Err(LifecycleError::Unsupported("be saved"))));
    assert_eq!(driver.lifecycle().state(), State::Paused);
    driver.lifecycle().reset();
    let activation = driver.activation();
    let restored = driver.lifecycle().restore(&saved(), activation);
    assert_eq!(restored.unwrap_err().to_string(), "this device cannot be restored");
    assert_eq!(driver.lifecycle().state(), State::Idle);
}

#[test]
fn a_broken_device_cannot_be_paused_and_a_reset_mends_it() {
    let (mut driver, log) = running(true);
    assert!(matches!(driver.lifecycle().pause(), Err(LifecycleError::Broken)));
    assert_eq!((driver.lifecycle().state(), done(&log)), (State::Running, vec!["pause"]));
    // A real device, broken by its driver.
    let mut driver = Driver::start(Rng::new().unwrap(), 0);
    driver.add_raw(0, &[(u64::MAX - 10, 64, true)]);
    driver.kick(0);
    driver.wait_needs_reset();
    assert!(matches!(driver.lifecycle().pause(), Err(LifecycleError::Broken)));
    let mut driver = driver.restart();
    let head = driver.add(0, &[Part::Write(8)]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (head, 8));
}

#[test]
fn a_paused_device_leaves_memory_alone_and_goes_on_with_what_came_meanwhile() {
    let mut driver = Driver::start(Rng::new().unwrap(), 0);
    for _ in 0..20 {
        let before = driver.add(0, &[Part::Write(64)]);
        driver.kick(0);
        // What the driver asked for before the pause is done when it begins.
        driver.lifecycle().pause().unwrap();
        assert_eq!(driver.try_used(0), Some((before, 64)));
        let meanwhile = driver.add(0, &[Part::Write(64)]);
        driver.kick(0);
        assert_eq!(driver.try_used(0), None);
        assert_eq!(driver.written(meanwhile), [0; 64]);
        driver.lifecycle().resume().unwrap();
        assert_eq!(driver.wait_used(0), (meanwhile, 64));
    }
}

/// CVE-2026-45782 from a pause: the queues that the device kept are gone with the reset.
#[test]
fn a_reset_of_a_paused_device_takes_its_queues_away() {
    let mut driver = Driver::start(Rng::new().unwrap(), 0);
    driver.lifecycle().pause().unwrap();
    let head = driver.add(0, &[Part::Write(64)]);
    driver.kick(0);
    let memory = driver.memory().clone();
    let written = driver.written(head);
    let mut driver = driver.restart();
    let again = driver.add(0, &[Part::Write(64)]);
    driver.kick(0);
    assert_eq!(driver.wait_used(0), (again, 64));
    assert_eq!(written, [0; 64]);
    let mut old = vec![0; 64];
    memory.read_slice(&mut old, GuestAddress(0x10_0000)).unwrap();
    assert_eq!(old, [0; 64], "the device writes into memory of before the reset");
}
