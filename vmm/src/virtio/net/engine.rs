//! What runs on the worker's thread: taps on one side, queues on the other, the control queue beside them.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use virtio_queue::QueueT;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

use super::control;
use super::frame::MAX_DESCRIPTORS;
use super::receive::Receiver;
use super::send::Sender;
use super::tap::Tap;
use crate::virtio::buffers::Buffers;
use crate::virtio::error::Fault;
use crate::virtio::interrupt::Interrupt;
use crate::virtio::queue::ActiveQueue;
use crate::virtio::rate::{Alarm, Gate};
use crate::virtio::worker::{Events, Handler};

/// What waits for what, by token: below these are [`PER_PAIR`] tokens for each pair.
const CONTROL: u64 = 1 << 32;
const ALARM: u64 = CONTROL + 1;

const PER_PAIR: u64 = 3;
const RECEIVE: u64 = 0;
const SEND: u64 = 1;
const TAP: u64 = 2;

/// Taps are reported once per change; receivers and senders remember what they have not acted on. So a tap whose frames the
/// guest does not take, or whose device is gone, costs nothing.
const FRAMES: EventSet = EventSet::IN.union(EventSet::EDGE_TRIGGERED);
const FRAMES_AND_ROOM: EventSet = FRAMES.union(EventSet::OUT);

/// The limits of both directions. They outlive resets, or a guest would get a new burst with each.
#[derive(Default)]
pub struct Gates {
    /// For the guest.
    pub receive: Gate,
    /// From the guest.
    pub send: Gate,
}

/// A queue pair and its tap's number.
pub struct Pair {
    /// For the guest.
    pub receiver: Receiver,
    /// From the guest.
    pub sender: Sender,
}

/// A card's taps and queues.
pub struct Engine {
    /// The guest's memory.
    pub memory: Arc<GuestMemoryMmap>,
    /// How to reach the driver.
    pub interrupt: Arc<Interrupt>,
    /// One for each pair.
    pub taps: Arc<[Tap]>,
    /// What the driver accepted of the tap's offloads.
    pub offloads: libc::c_uint,
    /// The queues.
    pub pairs: Vec<Pair>,
    /// The control queue of a device with several pairs.
    pub control: Option<ActiveQueue>,
    /// The limits.
    pub gates: Arc<Mutex<Gates>>,
    /// Goes off when a gate opens again.
    pub alarm: Option<Alarm>,
}

impl Handler for Engine {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        for tap in self.taps.iter() {
            tap.prepare()?;
        }
        if let Some(tap) = self.taps.first() {
            tap.offload(self.offloads)?;
        }
        // A driver that wants more than one pair says so (section 5.1.6.5.5).
        join(&self.taps, 1)?;
        for (first, (pair, tap)) in
            (0..).step_by(PER_PAIR as usize).zip(self.pairs.iter_mut().zip(&*self.taps))
        {
            // Buffers to fill are looked for when there is something to fill them with.
            pair.receiver.queue().queue.disable_notification(&*self.memory)?;
            events.add_event(&pair.receiver.queue().kick, first + RECEIVE)?;
            events.add_event(&pair.sender.queue().kick, first + SEND)?;
            events.add(tap.as_fd(), first + TAP, FRAMES)?;
        }
        if let Some(control) = &self.control {
            events.add_event(&control.kick, CONTROL)?;
        }
        let gates = lock(&self.gates);
        if !gates.receive.is_open_for_good() || !gates.send.is_open_for_good() {
            self.alarm = Some(Alarm::new(events, ALARM)?);
        }
        Ok(())
    }

    fn event(&mut self, token: u64, ready: EventSet, events: &Events) -> Result<(), Fault> {
        match token {
            CONTROL => self.command(),
            ALARM => {
                self.alarm.iter_mut().for_each(Alarm::rang);
                (0..self.pairs.len()).try_for_each(|pair| {
                    self.receive(pair)?;
                    self.send(pair, events)
                })
            }
            _ => {
                let number = (token / PER_PAIR) as usize;
                let Some(pair) = self.pairs.get_mut(number) else { return Ok(()) };
                match token % PER_PAIR {
                    RECEIVE => {
                        // Already read when the queue kicked itself and the driver did too.
                        let _ = pair.receiver.queue().kick.read();
                        self.receive(number)
                    }
                    SEND => {
                        let _ = pair.sender.queue().kick.read();
                        self.send(number, events)
                    }
                    _ => {
                        pair.receiver.wake();
                        let blocked = pair.sender.is_blocked();
                        self.receive(number)?;
                        if blocked && ready.contains(EventSet::OUT) {
                            self.pairs[number].sender.wake();
                            self.send(number, events)?;
                        }
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Engine {
    fn receive(&mut self, number: usize) -> Result<(), Fault> {
        let Self { memory, interrupt, taps, pairs, gates, .. } = self;
        let wait = pairs[number].receiver.run(memory, &taps[number], &mut lock(gates).receive, interrupt)?;
        self.wait(wait)
    }

    fn send(&mut self, number: usize, events: &Events) -> Result<(), Fault> {
        let Self { memory, interrupt, taps, pairs, gates, .. } = self;
        let (tap, sender) = (&taps[number], &mut pairs[number].sender);
        let was_blocked = sender.is_blocked();
        let wait = sender.run(memory, tap, &mut lock(gates).send, interrupt)?;
        if sender.is_blocked() && !was_blocked {
            // Looks again too, so that room that came meanwhile is not missed.
            events.modify(tap.as_fd(), number as u64 * PER_PAIR + TAP, FRAMES_AND_ROOM)?;
        }
        self.wait(wait)
    }

    fn wait(&mut self, wait: Option<Duration>) -> Result<(), Fault> {
        match (wait, &mut self.alarm) {
            (Some(wait), Some(alarm)) => Ok(alarm.set(wait)?),
            _ => Ok(()),
        }
    }

    fn command(&mut self) -> Result<(), Fault> {
        let Self { memory, interrupt, taps, control: Some(queue), .. } = self else { return Ok(()) };
        let memory = &**memory;
        queue.serve(memory, interrupt, |chain| {
            let buffers = Buffers::new(memory, chain, MAX_DESCRIPTORS)?;
            control::serve(buffers, taps.len(), |pairs| Ok(join(taps, pairs)?)).map(Some)
        })
    }
}

/// Only the first `count` get frames from now on.
fn join(taps: &[Tap], count: usize) -> std::io::Result<()> {
    if taps.len() == 1 {
        return Ok(());
    }
    taps.iter().enumerate().try_for_each(|(number, tap)| tap.join(number < count))
}

/// A gate is whole at any moment: a level and a time.
fn lock(gates: &Mutex<Gates>) -> MutexGuard<'_, Gates> {
    gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
