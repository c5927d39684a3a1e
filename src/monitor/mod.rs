//! One process per container: it owns the VM, the streams, the log and the exit status, answers on the container's
//! socket, and outlives the command that started it.
//!
//! ```text
//! life      boots, starts, waits, restarts, records: the only place that changes the container's state
//! session   one client's request
//! agent     the guest's agent: requests, answers, connections
//! run       one VM and the first process in it; hub: where that process's output goes
//! stop      ends the container, for whoever asks
//! names     answers what the container's programs ask about names
//! health    asks the container now and then how it is
//! network   its networks, and network_spec what the agent hears of them; relay: what comes to its ports and
//!           is not translated, relay_udp: datagrams
//! ```
//! All of them are tasks of one thread and share a [`Monitor`].

mod agent;
mod connection;
mod descriptors;
mod health;
mod hub;
mod life;
mod link;
mod memory;
mod names;
mod network;
mod network_spec;
mod pause;
mod relay;
mod relay_udp;
mod run;
mod session;
mod spec;
mod stop;
mod update;
mod vm;
pub mod wire;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use moat_protocol::TerminalSize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify, watch};

pub use connection::Connection;

use descriptors::inherited;

use crate::engine::container::Container;
use crate::engine::id::ContainerId;
use crate::engine::state::State;
use crate::engine::{Engine, EngineError, MonitorStart, Purpose, events, socket};
use crate::halt;
use crate::network::attach::Attached;
use crate::record::Lock;
use hub::Hub;
use run::Run;
use wire::MonitorMessage;

/// Docker's exit code for a container that could not be started for a reason outside it.
const CANNOT_RUN: u8 = 125;

/// How long clients may take to hear the end before the monitor leaves them.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the tasks of a monitor share.
struct Monitor {
    engine: Engine,
    container: RefCell<Container>,
    purpose: Purpose,
    debug_console: bool,
    phase: watch::Sender<Phase>,
    /// How the last run ended.
    last_end: RefCell<MonitorMessage>,
    /// Where the first process's output goes.
    hub: Rc<Hub>,
    /// The size of the terminal before there is one.
    size: Cell<Option<TerminalSize>>,
    /// Somebody wants the container to end: its policy does not start it again.
    stop: Cell<bool>,
    stopped: Notify,
    /// It was a user.
    by_user: Cell<bool>,
    /// It is to be kept although it was to be removed at its end.
    keep: Cell<bool>,
    /// What it has of networks, from its first boot to its end.
    network: RefCell<Option<Attached>>,
    /// Held while that changes under a running VM.
    network_change: Mutex<()>,
    /// How many clients are connected.
    clients: watch::Sender<usize>,
}

/// How far the container's run is.
#[derive(Clone)]
enum Phase {
    /// Its VM boots.
    Starting,
    /// It runs.
    Up(Rc<Run>),
    /// It has ended and starts again in a moment.
    Resting,
    /// It has ended for good.
    Over,
}

/// Runs container `id` from boot to end: boots its VM, starts its process, carries its streams, answers its clients,
/// records how it ended, and removes what was made for it on the host.
///
/// # Errors
/// When the container's records cannot be used. How the run itself went is told to the clients and recorded.
pub fn run(engine: Engine, id: &ContainerId, start: &MonitorStart) -> Result<(), EngineError> {
    descriptors::raise_limit();
    let take = |number, action| inherited(number).map_err(EngineError::host(action));
    let lock = Lock::inherited(take(start.lock, "take over the container's lock")?);
    let listener = take(start.listener, "take over the container's socket")?;
    let client = take(start.client, "take over the client's connection")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(EngineError::host("start the monitor"))?;
    let monitor = Rc::new(Monitor {
        container: RefCell::new(Container::read(engine.root(), id)?),
        engine,
        purpose: start.purpose,
        debug_console: start.debug_console,
        phase: watch::Sender::new(Phase::Starting),
        last_end: RefCell::new(MonitorMessage::Done),
        hub: Rc::default(),
        size: Cell::new(None),
        stop: Cell::new(false),
        stopped: Notify::new(),
        by_user: Cell::new(false),
        keep: Cell::new(false),
        network: RefCell::new(None),
        network_change: Mutex::new(()),
        clients: watch::Sender::new(0),
    });
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(monitor.serve(lock, listener, client)))
}

impl Monitor {
    async fn serve(
        self: Rc<Self>,
        lock: Lock,
        listener: OwnedFd,
        client: OwnedFd,
    ) -> Result<(), EngineError> {
        let failed = EngineError::host("serve the container's socket");
        let open = || -> io::Result<(UnixListener, UnixStream)> {
            let listener = std::os::unix::net::UnixListener::from(listener);
            listener.set_nonblocking(true)?;
            let client = std::os::unix::net::UnixStream::from(client);
            client.set_nonblocking(true)?;
            Ok((UnixListener::from_std(listener)?, UnixStream::from_std(client)?))
        };
        let (listener, client) = open().map_err(failed)?;
        // The first client is heard before anything starts, so that it misses nothing. When it was killed before it
        // said anything, there is nobody to run this for.
        let heard = session::begin(&self, client).await;
        halt::point("monitor.heard-client");
        tokio::task::spawn_local(Rc::clone(&self).stop_when_told());
        let directory = self.container.borrow().directory.clone();
        let life = async {
            let end = match (heard, self.purpose) {
                (Err(e), purpose) => self.abandon(purpose, &lock, &e),
                (Ok(()), Purpose::Run) => self.live(&lock).await,
                (Ok(()), Purpose::Look) => Ok(self.look().await),
            };
            // Nobody new comes from here on: the next command finds what is recorded.
            socket::remove(&directory);
            drop(lock);
            end
        };
        let end = tokio::select! {
            end = life => end,
            never = session::accept(&self, &listener) => match never {},
        };
        drop(listener);
        let message = match &end {
            Ok(message) => message.clone(),
            Err(e) => MonitorMessage::Failed { code: CANNOT_RUN, message: e.to_string() },
        };
        // The record is written and the host clean before anyone hears of the end.
        *self.last_end.borrow_mut() = message;
        self.phase.send_replace(Phase::Over);
        let mut clients = self.clients.subscribe();
        // Who does not listen is left behind.
        let _ = tokio::time::timeout(FAREWELL, clients.wait_for(|&count| count == 0)).await;
        end.map(drop)
    }

    /// Somebody wants the container to end.
    fn request_stop(&self) {
        self.stop.set(true);
        self.hub.hurry();
        self.stopped.notify_waiters();
    }

    /// Changes the container's state on disk and here.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), EngineError> {
        let mut container = self.container.borrow_mut();
        let mut state = container.state.clone();
        change(&mut state);
        container.set_state(state)
    }

    /// Tells the world what happened to the container.
    fn emit(&self, action: &str, attributes: &[(&str, String)]) {
        events::emit(self.engine.root(), &self.container.borrow(), action, attributes);
    }
}
