//! The worker loop of every device.
//!
//! ```text
//!            start(handler)               pause()
//!   parked ------------------> serving -----------> paused
//!     ^ ^                        | | ^                | |
//!     | '---- stop(): handler ---' | '--- resume() ---' |
//!     |                            |                    |
//!     |          a fault or panic  v                    |
//!     |'------- stop() -------- broken                  |
//!     '---------- stop(): handler ----------------------'
//! ```
//! The thread exists from the building of the VM on and is parked while its device is not active: drivers activate
//! devices from virtual CPU threads, whose seccomp filter has no `clone`.
//!
//! A worker stops between two events, so no request is half done. [`Worker::stop`] gives the handler back, with the
//! device's queues in it. [`Worker::pause`] keeps the handler and the set of descriptors that it waits for, so that events
//! of the meantime are there when it resumes. A broken worker has dropped its handler and told the driver that the device
//! needs a reset.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use crate::log;
use crate::thread::{self, ThreadKind};
use crate::virtio::error::{ActivateError, Fault, LifecycleError};
use crate::virtio::interrupt::Interrupt;

/// Events taken from the kernel at once.
const BATCH: usize = 16;

/// The token of the worker's own stop event; handlers cannot use it.
const STOP: u64 = u64::MAX;

/// What a device does with its events, on its worker's thread.
pub trait Handler: Send + 'static {
    /// Called once, first: registers the descriptors that the handler waits for.
    ///
    /// # Errors
    /// As [`Handler::event`].
    fn start(&mut self, events: &Events) -> Result<(), Fault>;

    /// A registered descriptor is ready. Events come in batches: one may still arrive for a descriptor that an event
    /// before it removed, so the handler ignores an unknown token.
    ///
    /// # Errors
    /// What the device cannot go on from. The handler is dropped and the device marked as needing a reset.
    fn event(&mut self, token: u64, ready: EventSet, events: &Events) -> Result<(), Fault>;
}

/// The descriptors that a handler waits for.
pub struct Events {
    epoll: Epoll,
}

impl Events {
    /// Waits for `interest` on `fd`, which must be removed before it is closed if it has duplicates.
    ///
    /// # Errors
    /// When the descriptor cannot be waited for or is already registered.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: EventSet) -> io::Result<()> {
        debug_assert_ne!(token, STOP);
        self.control(ControlOperation::Add, fd, token, interest)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// When the descriptor is not registered.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: EventSet) -> io::Result<()> {
        self.control(ControlOperation::Modify, fd, token, interest)
    }

    /// Waits for the descriptor no more.
    ///
    /// # Errors
    /// When the descriptor is not registered.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(ControlOperation::Delete, fd, 0, EventSet::empty())
    }

    /// [`Events::add`] for reading, of an event descriptor as rust-vmm has them.
    ///
    /// # Errors
    /// As [`Events::add`].
    pub fn add_event(&self, event: &EventFd, token: u64) -> io::Result<()> {
        debug_assert_ne!(token, STOP);
        self.epoll.ctl(ControlOperation::Add, event.as_raw_fd(), EpollEvent::new(EventSet::IN, token))
    }

    fn control(
        &self,
        operation: ControlOperation,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: EventSet,
    ) -> io::Result<()> {
        self.epoll.ctl(operation, fd.as_fd().as_raw_fd(), EpollEvent::new(interest, token))
    }
}

/// A device's end of its worker thread. Dropping it ends the thread and waits for that.
pub struct Worker<H: Handler> {
    desk: Arc<Desk<H>>,
    stop: Arc<EventFd>,
    work: Work<H>,
    thread: Option<JoinHandle<()>>,
}

/// Where a worker's handler is.
enum Work<H> {
    /// There is none.
    None,
    /// On the thread, unless it broke there.
    Serving,
    /// Here, to go on later.
    Paused(Job<H>),
}

/// A handler and what it needs on the thread.
struct Job<H> {
    handler: H,
    interrupt: Arc<Interrupt>,
    /// What the handler waits for; none before its first start.
    events: Option<Events>,
}

/// What lies between a worker and its thread. A channel would do, and be a good deal of code for each kind of handler.
struct Desk<H> {
    place: Mutex<Place<H>>,
    changed: Condvar,
}

enum Place<H> {
    /// The thread is parked; what is left of its job, unless it broke.
    Parked(Option<Job<H>>),
    /// A job that the thread has not taken yet.
    Ordered(Job<H>),
    /// The thread has a job.
    Serving,
    /// The thread has ended, or is to end.
    Closed,
}

impl<H> Desk<H> {
    fn put(&self, place: Place<H>) {
        *self.lock() = place;
        self.changed.notify_all();
    }

    /// Takes what `wanted` finds, as soon as it finds something. A closed desk has nothing.
    fn take(
        &self,
        wanted: impl Fn(Place<H>) -> Result<Option<Job<H>>, Place<H>>,
        then: Place<H>,
    ) -> Option<Job<H>> {
        let mut place = self.lock();
        loop {
            match std::mem::replace(&mut *place, Place::Closed) {
                Place::Closed => return None,
                found => match wanted(found) {
                    Ok(job) => {
                        *place = then;
                        return job;
                    }
                    Err(other) => *place = other,
                },
            }
            place = self.changed.wait(place).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place<H>> {
        // Places are replaced whole.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the desk when the thread ends, also by a panic.
struct Leaving<H>(Arc<Desk<H>>);

impl<H> Drop for Leaving<H> {
    fn drop(&mut self) {
        self.0.put(Place::Closed);
    }
}

impl<H: Handler> Worker<H> {
    /// Starts the thread, parked.
    ///
    /// # Errors
    /// When the host gives no thread or event descriptor.
    pub fn spawn(kind: ThreadKind, name: &str) -> io::Result<Self> {
        let desk = Arc::new(Desk { place: Mutex::new(Place::Parked(None)), changed: Condvar::new() });
        let stop = Arc::new(EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)?);
        let idle = Epoll::new()?;
        idle.ctl(ControlOperation::Add, stop.as_raw_fd(), EpollEvent::new(EventSet::IN, STOP))?;
        let body = Body { name: name.to_owned(), stop: Arc::clone(&stop), idle };
        let leaving = Leaving(Arc::clone(&desk));
        let thread = thread::spawn(kind, name, move || {
            let Leaving(desk) = &leaving;
            let ordered = |place| match place {
                Place::Ordered(job) => Ok(Some(job)),
                other => Err(other),
            };
            while let Some(job) = desk.take(ordered, Place::Serving) {
                desk.put(Place::Parked(body.serve(job)));
            }
        })?;
        Ok(Self { desk, stop, work: Work::None, thread: Some(thread) })
    }

    /// Hands `handler` to the thread. A worker that has a handler is stopped first.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn start(&mut self, handler: H, interrupt: Arc<Interrupt>) -> Result<(), ActivateError> {
        drop(self.stop());
        self.send(Job { handler, interrupt, events: None })
    }

    /// Finishes what is ready, and returns the handler when the thread has let go of it: nothing of the device touches
    /// guest memory then. There is no handler when none was started or when it broke.
    pub fn stop(&mut self) -> Option<H> {
        let job = match std::mem::replace(&mut self.work, Work::None) {
            Work::None => None,
            Work::Serving => self.park(),
            Work::Paused(job) => Some(job),
        };
        job.map(|job| job.handler)
    }

    /// Finishes what is ready, and keeps the handler to go on with it later. Nothing of the device touches guest memory
    /// when this returns.
    ///
    /// # Errors
    /// When the handler broke. A worker that does not serve stays as it is.
    pub fn pause(&mut self) -> Result<(), LifecycleError> {
        if matches!(self.work, Work::Serving) {
            // Without a handler it stays as it was: broken, for `stop` to find.
            match self.park() {
                Some(job) => self.work = Work::Paused(job),
                None => {
                    self.work = Work::None;
                    return Err(LifecycleError::Broken);
                }
            }
        }
        Ok(())
    }

    /// Goes on with the handler of a paused worker. Other workers stay as they are.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn resume(&mut self) -> Result<(), ActivateError> {
        match std::mem::replace(&mut self.work, Work::None) {
            Work::Paused(job) => self.send(job),
            other => {
                self.work = other;
                Ok(())
            }
        }
    }

    fn send(&mut self, job: Job<H>) -> Result<(), ActivateError> {
        // What is left of the last stop.
        let _ = self.stop.read();
        let mut place = self.desk.lock();
        if matches!(*place, Place::Closed) {
            return Err(ActivateError::Worker(io::Error::other("the worker's thread is gone")));
        }
        *place = Place::Ordered(job);
        drop(place);
        self.desk.changed.notify_all();
        self.work = Work::Serving;
        Ok(())
    }

    fn park(&self) -> Option<Job<H>> {
        let _ = self.stop.write(1);
        let parked = |place| match place {
            Place::Parked(job) => Ok(job),
            other => Err(other),
        };
        self.desk.take(parked, Place::Parked(None))
    }
}

impl<H: Handler> Drop for Worker<H> {
    fn drop(&mut self) {
        drop(self.stop());
        self.desk.put(Place::Closed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own state.
struct Body {
    name: String,
    stop: Arc<EventFd>,
    /// Waits for `stop` alone.
    idle: Epoll,
}

impl Body {
    /// Runs one handler until it is stopped, and returns it, or until it breaks.
    fn serve<H: Handler>(&self, mut job: Job<H>) -> Option<Job<H>> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run(&mut job)));
        let fault = match outcome {
            Ok(Ok(())) => return Some(job),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::Panic,
        };
        let interrupt = Arc::clone(&job.interrupt);
        // The handler's own destructor must not end the thread either.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(job)));
        let fault = if dropped.is_err() { Fault::Panic } else { fault };
        log::guest(format_args!("{}: {fault}; the device needs a reset", self.name));
        interrupt.signal_needs_reset();
        self.wait_for_stop();
        None
    }

    fn run<H: Handler>(&self, job: &mut Job<H>) -> Result<(), Fault> {
        let Job { handler, events, .. } = job;
        let events = match events {
            Some(events) => events,
            None => {
                let events = events.insert(Events { epoll: Epoll::new()? });
                let stop = EpollEvent::new(EventSet::IN, STOP);
                events.epoll.ctl(ControlOperation::Add, self.stop.as_raw_fd(), stop)?;
                handler.start(events)?;
                events
            }
        };
        let mut batch = [EpollEvent::default(); BATCH];
        loop {
            let ready = match events.epoll.wait(-1, &mut batch) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            // What was ready before the stop is still done: a guest that sends its last words and powers off, or
            // writes to its disk, has seen the device take them.
            for event in batch[..ready].iter().filter(|event| event.data() != STOP) {
                handler.event(event.data(), event.event_set(), events)?;
            }
            if batch[..ready].iter().any(|event| event.data() == STOP) {
                return Ok(());
            }
        }
    }

    /// Sleeps until the stop event is there, without anything of the device.
    fn wait_for_stop(&self) {
        let mut event = [EpollEvent::default()];
        while let Err(error) = self.idle.wait(-1, &mut event) {
            if error.kind() != io::ErrorKind::Interrupted {
                log::host(format_args!("{}: cannot wait for the reset: {error}", self.name));
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
