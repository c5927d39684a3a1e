//! The part that is the same in every device that answers each request at once: a worker that serves its queues.

use std::sync::Arc;

use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

use super::device::{ActivateError, Activation, ActiveQueue, Fault};
use super::interrupt::Interrupt;
use super::queue::Chain;
use crate::worker::{Events, Handler, Worker};

/// What a device does with a request.
pub trait Requests: Send + 'static {
    /// Carries out the request that `chain` of the queue number `queue` is. Returns the bytes written into it.
    ///
    /// # Errors
    /// What the device cannot go on from.
    fn serve(&mut self, queue: usize, memory: &GuestMemoryMmap, chain: Chain<'_>) -> Result<u32, Fault>;
}

/// The device's queues and what answers their requests, on the worker's thread.
pub struct Server<R> {
    requests: R,
    memory: GuestMemoryMmap,
    queues: Vec<ActiveQueue>,
    interrupt: Arc<Interrupt>,
}

impl<R: Requests> Worker<Server<R>> {
    /// Starts to answer requests.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn serve(&mut self, requests: R, activation: Activation) -> Result<(), ActivateError> {
        let Activation { memory, queues, interrupt, .. } = activation;
        self.start(Server { requests, memory, queues, interrupt: Arc::clone(&interrupt) }, interrupt)
    }
}

impl<R: Requests> Handler for Server<R> {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        for (token, queue) in (0..).zip(&self.queues) {
            events.add_event(&queue.kick, token)?;
        }
        Ok(())
    }

    fn event(&mut self, token: u64, _: EventSet, _: &Events) -> Result<(), Fault> {
        let Self { requests, memory, queues, interrupt } = self;
        let number = token as usize;
        let Some(queue) = queues.get_mut(number) else { return Ok(()) };
        let memory = &*memory;
        queue.serve(memory, interrupt, |chain| requests.serve(number, memory, chain).map(Some))
    }
}
