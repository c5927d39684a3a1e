//! What runs on the worker's thread. It carries out requests one after the other, and keeps those that have to wait for
//! their limit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use virtio_queue::QueueT;
use vmm_sys_util::epoll::EventSet;

use super::config::DiskLimits;
use super::disk::Disk;
use super::request::{self, Way};
use crate::virtio::error::Fault;
use crate::virtio::queue::{Chain, Queues};
use crate::virtio::rate::{Alarm, Gate};
use crate::virtio::worker::{Events, Handler};

/// The number of the one queue; the token of its kicks, too.
const QUEUE: usize = 0;
const ALARM: u64 = 1;

/// The limits of both ways, by [`Way`]. They outlive resets, or a guest would get a new burst with each.
pub struct Gates([Gate; 2]);

impl Gates {
    /// Gates with full buckets.
    pub fn new(limits: &DiskLimits) -> Self {
        Self([
            Gate::new(limits.read_bytes, limits.read_operations),
            Gate::new(limits.write_bytes, limits.write_operations),
        ])
    }
}

/// A disk, its queue and the requests that wait.
pub struct Engine {
    disk: Arc<Disk>,
    id: Arc<str>,
    queues: Queues,
    gates: Arc<Mutex<Gates>>,
    /// Requests that wait, by [`Way`]: one way does not hold the other up.
    waiting: [VecDeque<Chain>; 2],
    alarm: Option<Alarm>,
}

impl Engine {
    /// An engine with nothing under way.
    pub fn new(disk: Arc<Disk>, id: Arc<str>, queues: Queues, gates: Arc<Mutex<Gates>>) -> Self {
        Self { disk, id, queues, gates, waiting: Default::default(), alarm: None }
    }

    /// Carries out what the driver has added.
    fn take(&mut self) -> Result<(), Fault> {
        let Self { disk, id, queues, gates, waiting, alarm } = self;
        let Gates(gates) = &mut *gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let memory = Arc::clone(&queues.memory);
        let most = queues.queues.get(QUEUE).map_or(0, |queue| usize::from(queue.queue.size()));
        queues.serve(QUEUE, |chain| {
            let mut late = None;
            let written = request::serve(&memory, disk, id, chain.clone(), |way, bytes| {
                let gate = &mut gates[way as usize];
                let wait = gate.wait();
                // No request passes one that waits already.
                if wait.is_some() || !waiting[way as usize].is_empty() {
                    late = Some((way, wait));
                    return false;
                }
                gate.pass(bytes);
                true
            })?;
            if let Some((way, wait)) = late {
                if waiting.iter().map(VecDeque::len).sum::<usize>() >= most {
                    return Err(Fault::Guest("more requests than the queue holds"));
                }
                waiting[way as usize].push_back(chain);
                if let (Some(alarm), Some(wait)) = (alarm.as_mut(), wait) {
                    alarm.set(wait)?;
                }
            }
            Ok(written)
        })
    }

    /// Carries out what waited, as far as the limits allow by now.
    fn retry(&mut self) -> Result<(), Fault> {
        let Self { disk, id, queues: Queues { memory, queues, interrupt }, gates, waiting, alarm } = self;
        let Some(queue) = queues.get_mut(QUEUE) else { return Ok(()) };
        let Gates(gates) = &mut *gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut used = false;
        alarm.iter_mut().for_each(Alarm::rang);
        for way in [Way::Read, Way::Write] {
            while !waiting[way as usize].is_empty() {
                if let (Some(wait), Some(alarm)) = (gates[way as usize].wait(), alarm.as_mut()) {
                    alarm.set(wait)?;
                    break;
                }
                let Some(chain) = waiting[way as usize].pop_front() else { break };
                let head = chain.head_index();
                // The driver may have changed it meanwhile; it is read again, and this is its turn.
                let written = request::serve(memory, disk, id, chain, |way, bytes| {
                    gates[way as usize].pass(bytes);
                    true
                })?;
                queue.queue.add_used(&**memory, head, written.unwrap_or(0))?;
                used = true;
            }
        }
        if used && queue.queue.needs_notification(&**memory)? {
            interrupt.signal_used();
        }
        Ok(())
    }
}

impl Handler for Engine {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        self.queues.watch(events)?;
        let Gates(gates) = &*self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if gates.iter().any(|gate| !gate.is_open_for_good()) {
            self.alarm = Some(Alarm::new(events, ALARM)?);
        }
        Ok(())
    }

    fn event(&mut self, token: u64, _: EventSet, _: &Events) -> Result<(), Fault> {
        match token {
            ALARM => self.retry(),
            _ => self.take(),
        }
    }
}
