//! The part that is the same in every device that answers requests one by one: a worker that serves its queues.

use std::sync::Arc;

use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

use super::error::{ActivateError, Fault};
use super::queue::{Chain, Queues};
use crate::virtio::worker::{Events, Handler, Worker};

/// What a device does with a request.
pub trait Requests: Send + 'static {
    /// Carries out the request that `chain` of the queue number `queue` is. Returns the bytes written into it, or nothing
    /// when the device keeps the chain.
    ///
    /// # Errors
    /// What the device cannot go on from.
    fn serve(&mut self, queue: usize, memory: &GuestMemoryMmap, chain: Chain) -> Result<Option<u32>, Fault>;
}

/// The device's queues and what answers their requests, on the worker's thread.
pub struct Server<R> {
    requests: R,
    queues: Queues,
}

impl<R: Requests> Worker<Server<R>> {
    /// Starts to answer requests.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn serve(&mut self, requests: R, queues: Queues) -> Result<(), ActivateError> {
        let interrupt = Arc::clone(&queues.interrupt);
        self.start(Server { requests, queues }, interrupt)
    }
}

impl<R: Requests> Handler for Server<R> {
    fn start(&mut self, events: &Events) -> Result<(), Fault> {
        self.queues.watch(events)
    }

    fn event(&mut self, token: u64, _: EventSet, _: &Events) -> Result<(), Fault> {
        let Self { requests, queues } = self;
        let (number, memory) = (token as usize, Arc::clone(&queues.memory));
        queues.serve(number, |chain| requests.serve(number, &memory, chain))
    }
}
