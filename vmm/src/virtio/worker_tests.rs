use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::syscalls::Syscalls;

const KICK: u64 = 7;
const SYSCALLS: Syscalls = Syscalls { device: "test", worker: &[], main: &[], descriptors: 0 };

#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Count,
    Fail,
    Panic,
}

struct Probe {
    kick: EventFd,
    seen: Arc<AtomicU32>,
    done: EventFd,
    behaviour: Behaviour,
}

impl Handler for Probe {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        Ok(events.add_event(&self.kick, KICK)?)
    }

    fn event(&mut self, token: u64, ready: EventSet, _: &Events) -> Result<(), Fault> {
        assert_eq!((token, ready), (KICK, EventSet::IN));
        self.kick.read()?;
        match self.behaviour {
            Behaviour::Count => {}
            Behaviour::Fail => return Err(Fault::Guest("a test")),
            Behaviour::Panic => panic!("a test"),
        }
        self.seen.fetch_add(1, Ordering::SeqCst);
        self.done.write(1)?;
        Ok(())
    }
}

struct Rig {
    worker: Worker<Probe>,
    kick: EventFd,
    seen: Arc<AtomicU32>,
    done: EventFd,
    line: EventFd,
    interrupt: Arc<Interrupt>,
}

impl Rig {
    fn new() -> Self {
        let event = || EventFd::new(0).unwrap();
        let line = event();
        Self {
            worker: Worker::spawn(ThreadKind::Worker(&SYSCALLS), "test").unwrap(),
            kick: event(),
            seen: Arc::default(),
            done: event(),
            interrupt: Arc::new(Interrupt::new(line.try_clone().unwrap())),
            line,
        }
    }

    fn start(&mut self, behaviour: Behaviour) {
        let probe = Probe {
            kick: self.kick.try_clone().unwrap(),
            seen: Arc::clone(&self.seen),
            done: self.done.try_clone().unwrap(),
            behaviour,
        };
        self.worker.start(probe, Arc::clone(&self.interrupt)).unwrap();
    }

    fn count_one(&mut self) {
        let before = self.seen.load(Ordering::SeqCst);
        self.kick.write(1).unwrap();
        self.done.read().unwrap();
        assert_eq!(self.seen.load(Ordering::SeqCst), before + 1);
    }
}

#[test]
fn serves_stops_and_serves_again() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.start(Behaviour::Count);
        rig.count_one();
        rig.count_one();
        rig.worker.stop();
        assert_eq!(Arc::strong_count(&rig.seen), 1, "stop returns when the handler is gone");
    }
    assert!(!rig.interrupt.needs_reset());
}

#[test]
fn a_kick_from_before_the_start_is_seen() {
    let mut rig = Rig::new();
    rig.kick.write(1).unwrap();
    rig.start(Behaviour::Count);
    rig.done.read().unwrap();
}

#[test]
fn a_kick_from_before_the_stop_is_seen() {
    let mut rig = Rig::new();
    rig.start(Behaviour::Count);
    for kicks in 1..100 {
        rig.kick.write(1).unwrap();
        rig.worker.stop();
        assert_eq!(rig.seen.load(Ordering::SeqCst), kicks);
        rig.start(Behaviour::Count);
    }
}

#[test]
fn a_broken_handler_is_dropped_and_can_be_replaced() {
    let mut rig = Rig::new();
    for behaviour in [Behaviour::Fail, Behaviour::Panic] {
        rig.start(behaviour);
        rig.kick.write(1).unwrap();
        rig.line.read().unwrap();
        assert!(rig.interrupt.needs_reset());
        assert_eq!(Arc::strong_count(&rig.seen), 1);
        rig.interrupt.reset();
        rig.start(Behaviour::Count);
        rig.count_one();
        rig.worker.stop();
    }
}

#[test]
fn dropping_ends_the_thread_in_every_state() {
    drop(Rig::new());
    let mut serving = Rig::new();
    serving.start(Behaviour::Count);
    let seen = Arc::clone(&serving.seen);
    drop(serving);
    assert_eq!(Arc::strong_count(&seen), 1);
    let mut broken = Rig::new();
    broken.start(Behaviour::Fail);
    broken.kick.write(1).unwrap();
    broken.line.read().unwrap();
    drop(broken);
}

#[test]
fn a_paused_worker_goes_on_with_what_came_meanwhile() {
    let mut rig = Rig::new();
    rig.start(Behaviour::Count);
    rig.count_one();
    for kicks in 2..100 {
        rig.worker.pause().unwrap();
        rig.kick.write(1).unwrap();
        assert_eq!(rig.seen.load(Ordering::SeqCst), kicks - 1, "a paused worker does nothing");
        rig.worker.resume().unwrap();
        rig.done.read().unwrap();
        assert_eq!(rig.seen.load(Ordering::SeqCst), kicks);
    }
}

#[test]
fn stopping_gives_the_handler_back() {
    let mut rig = Rig::new();
    assert!(rig.worker.stop().is_none());
    for pause in [false, true] {
        rig.start(Behaviour::Count);
        rig.count_one();
        if pause {
            rig.worker.pause().unwrap();
        }
        let handler = rig.worker.stop().unwrap();
        assert!(Arc::ptr_eq(&handler.seen, &rig.seen));
        // It goes on as if it were new.
        rig.worker.start(handler, Arc::clone(&rig.interrupt)).unwrap();
        rig.count_one();
        drop(rig.worker.stop());
    }
}

#[test]
fn a_broken_worker_cannot_pause_and_has_nothing_to_go_on_with() {
    let mut rig = Rig::new();
    rig.start(Behaviour::Fail);
    rig.kick.write(1).unwrap();
    rig.line.read().unwrap();
    assert!(matches!(rig.worker.pause(), Err(LifecycleError::Broken)));
    rig.worker.resume().unwrap();
    assert!(rig.worker.stop().is_none());
    rig.start(Behaviour::Count);
    rig.count_one();
}

#[test]
fn a_paused_worker_can_be_dropped_and_replaced() {
    let mut rig = Rig::new();
    rig.start(Behaviour::Count);
    rig.worker.pause().unwrap();
    rig.start(Behaviour::Count);
    rig.count_one();
    assert_eq!(Arc::strong_count(&rig.seen), 2, "the paused handler is gone");
    rig.worker.pause().unwrap();
    let seen = Arc::clone(&rig.seen);
    drop(rig);
    assert_eq!(Arc::strong_count(&seen), 1);
}
