//! The worker loop of every device.
//!
//! ```text
//!            start(handler)                    stop()
//!   parked ------------------> serving ------------------> parked
//!                                 | the handler returns a fault or panics
//!                                 v
//!                              broken  -- stop() --> parked
//! ```
//! The thread exists from the building of the VM on and is parked while its device is not active: drivers activate
//! devices from virtual CPU threads, whose seccomp filter has no `clone`. A broken worker has dropped its handler
//! and told the driver that the device needs a reset; [`Worker::stop`] makes it usable again.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use crate::log;
use crate::thread::{self, ThreadKind};
use crate::virtio::device::{ActivateError, Fault};
use crate::virtio::interrupt::Interrupt;

/// Events taken from the kernel at once.
const BATCH: usize = 16;

/// The token of the worker's own stop event; handlers cannot use it.
const STOP: u64 = u64::MAX;

/// What a device does with its events, on its worker's thread.
pub trait Handler: Send + 'static {
    /// Called first: registers the descriptors the handler waits for.
    ///
    /// # Errors
    /// As [`Handler::event`].
    fn start(&mut self, events: &Events) -> Result<(), Fault>;

    /// A registered descriptor is ready. Events come in batches: one may still arrive for a descriptor that an event
    /// before it removed, so an unknown token is to be ignored.
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
    orders: Option<mpsc::Sender<Order<H>>>,
    parked: mpsc::Receiver<()>,
    stop: Arc<EventFd>,
    serving: bool,
    thread: Option<JoinHandle<()>>,
    handler: PhantomData<H>,
}

struct Order<H> {
    handler: H,
    interrupt: Arc<Interrupt>,
}

impl<H: Handler> Worker<H> {
    /// Starts the thread, parked.
    ///
    /// # Errors
    /// When there is no thread or event descriptor to be had.
    pub fn spawn(kind: ThreadKind, name: &str) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let (outbox, parked) = mpsc::channel();
        let stop = Arc::new(EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)?);
        let idle = Epoll::new()?;
        idle.ctl(ControlOperation::Add, stop.as_raw_fd(), EpollEvent::new(EventSet::IN, STOP))?;
        let body = Body { name: name.to_owned(), stop: Arc::clone(&stop), idle };
        let thread = thread::spawn(kind, name, move || {
            while let Ok(order) = inbox.recv() {
                body.serve(order);
                if outbox.send(()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            orders: Some(orders),
            parked,
            stop,
            serving: false,
            thread: Some(thread),
            handler: PhantomData,
        })
    }

    /// Hands `handler` to the thread. A worker that already serves is stopped first.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn start(&mut self, handler: H, interrupt: Arc<Interrupt>) -> Result<(), ActivateError> {
        self.stop();
        // What is left of a stop that found the worker broken.
        let _ = self.stop.read();
        let gone = || ActivateError::Worker(io::Error::other("the worker's thread is gone"));
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(Order { handler, interrupt }).map_err(|_| gone())?;
        self.serving = true;
        Ok(())
    }

    /// Finishes what is ready, drops the handler and returns when that has happened: nothing of the device touches
    /// guest memory then.
    pub fn stop(&mut self) {
        if std::mem::take(&mut self.serving) {
            let _ = self.stop.write(1);
            // An error means that the thread is gone, and its handler with it.
            let _ = self.parked.recv();
        }
    }
}

impl<H: Handler> Drop for Worker<H> {
    fn drop(&mut self) {
        self.stop();
        self.orders = None;
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
    /// Runs one handler until it is stopped.
    fn serve<H: Handler>(&self, order: Order<H>) {
        let Order { mut handler, interrupt } = order;
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run(&mut handler)));
        // The handler's own destructor must not end the thread either.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(handler)));
        let fault = match (outcome, dropped) {
            (Ok(Ok(())), Ok(())) => return,
            (Ok(Err(fault)), _) => fault,
            _ => Fault::Panic,
        };
        log::guest(format_args!("{}: {fault}; the device needs a reset", self.name));
        interrupt.signal_needs_reset();
        self.wait_for_stop();
    }

    fn run<H: Handler>(&self, handler: &mut H) -> Result<(), Fault> {
        let events = Events { epoll: Epoll::new()? };
        events.epoll.ctl(
            ControlOperation::Add,
            self.stop.as_raw_fd(),
            EpollEvent::new(EventSet::IN, STOP),
        )?;
        handler.start(&events)?;
        let mut batch = [EpollEvent::default(); BATCH];
        loop {
            let ready = match events.epoll.wait(-1, &mut batch) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            // What was ready before the stop is still done: a guest that sends its last words and powers off, or
            // writes to its disk, has seen the device take them.
            for event in batch[..ready].iter().filter(|event| event.data() != STOP) {
                handler.event(event.data(), event.event_set(), &events)?;
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
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const KICK: u64 = 7;

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
                worker: Worker::spawn(ThreadKind::Rng, "test").unwrap(),
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
}
