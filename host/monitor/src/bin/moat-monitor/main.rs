//! `moat-monitor`: one process per container. It owns the VM, the streams, the log and the exit status, answers on the container's
//! socket, and outlives the command that started it.
//!
//! ```text
//! life      boots, starts, waits, restarts, records: the only place that changes the container's state
//! session   one client's request
//! agent     the guest's agent: requests, answers, connections
//! execs     the processes beside the first one
//! run       one VM and the first process in it; hub: where that process's output goes
//! stop      ends the container, when a client or the host asks for it
//! names     answers what the container's programs ask about names
//! health    asks the container now and then how it is
//! network   its networks; spec: what the agent hears of them; relay, relay_udp: what comes to its ports and is not
//!           translated
//! devices   the VM's disks and cards
//! ```
//! All of them are tasks of one thread and share a [`Monitor`].

mod agent;
mod descriptors;
mod devices;
mod execs;
mod health;
mod hub;
mod life;
mod link;
mod memory;
mod names;
mod network;
mod pause;
mod run;
mod session;
mod spec;
mod stop;
mod update;
mod vm;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use moat_containers::state::State;
use moat_containers::{Container, ContainerError, Containers, events, socket};
use moat_monitor::config::{CLIENT_FD, CONFIG_FD, LISTENER_FD, LOCK_FD, MAX_CONFIG, MonitorConfig, Purpose};
use moat_monitor::wire::MonitorMessage;
use moat_network::attach::Attached;
use moat_protocol::TerminalSize;
use moat_records::failpoint;
use moat_records::record::Lock;
use moat_records::root::Root;
use nix::sys::signal::SigSet;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify, watch};

use descriptors::inherited;
use execs::Execs;
use hub::Hub;
use run::Run;

/// Docker's exit code for a container that could not be started for a reason outside it.
const CANNOT_RUN: u8 = 125;

/// How long clients may take to hear the end before the monitor leaves them.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the tasks of a monitor share.
struct Monitor {
    containers: Containers,
    container: RefCell<Container>,
    config: MonitorConfig,
    phase: watch::Sender<Phase>,
    /// How the last run ended.
    last_end: RefCell<MonitorMessage>,
    /// Where the first process's output goes.
    hub: Rc<Hub>,
    /// The size of the terminal before there is one.
    size: Cell<Option<TerminalSize>>,
    /// The container is asked to end: its policy does not start it again.
    stop: Cell<bool>,
    stopped: Notify,
    /// A user asked.
    by_user: Cell<bool>,
    /// It is to be kept although it was to be removed at its end.
    keep: Cell<bool>,
    /// What it has of networks, from its first boot to its end.
    network: RefCell<Option<Attached>>,
    /// Held while that changes under a running VM.
    network_change: Mutex<()>,
    /// The processes beside the first one.
    execs: Execs,
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

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    // A starter blocks signals for a purpose of its own, and a program inherits what its starter blocks. Setting a mask that
    // exists cannot fail.
    let _ = SigSet::empty().thread_set_mask();
    match Inherited::take().and_then(detached) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(inherited)) => match run(inherited) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                tracing::error!("{e}");
                ExitCode::FAILURE
            }
        },
        Err(e) => {
            tracing::error!("cannot start the monitor: {e}");
            ExitCode::FAILURE
        }
    }
}

/// What the launcher gives to a monitor.
struct Inherited {
    config: MonitorConfig,
    lock: OwnedFd,
    listener: OwnedFd,
    client: OwnedFd,
}

impl Inherited {
    fn take() -> io::Result<Self> {
        let mut text = Vec::new();
        File::from(inherited(CONFIG_FD)?).take(MAX_CONFIG).read_to_end(&mut text)?;
        Ok(Self {
            config: serde_json::from_slice(&text)?,
            lock: inherited(LOCK_FD)?,
            listener: inherited(LISTENER_FD)?,
            client: inherited(CLIENT_FD)?,
        })
    }
}

/// Goes on in a child of this process, in a session of its own: what a terminal sends to the launcher is not for the
/// monitor, and the launcher has a process to reap at once. Nothing in the parent.
fn detached(inherited: Inherited) -> io::Result<Option<Inherited>> {
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { .. } => Ok(None),
        nix::unistd::ForkResult::Child => {
            nix::unistd::setsid()?;
            Ok(Some(inherited))
        }
    }
}

/// Runs a container from boot to end: boots its VM, starts its process, carries its streams, answers its clients, records
/// how it ended, and removes what was made for it on the host.
///
/// # Errors
/// When the container's records cannot be used. How the run itself went is told to the clients and recorded.
fn run(inherited: Inherited) -> Result<(), ContainerError> {
    descriptors::raise_limit();
    let Inherited { config, lock, listener, client } = inherited;
    let root = Root::open(&config.root).map_err(ContainerError::host("open the root directory"))?;
    let containers = Containers::of(&root);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ContainerError::host("start the monitor"))?;
    let monitor = Rc::new(Monitor {
        container: RefCell::new(Container::read(&root, &config.id)?),
        containers,
        config,
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
        execs: Execs::default(),
        clients: watch::Sender::new(0),
    });
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(monitor.serve(Lock::inherited(lock), listener, client)))
}

impl Monitor {
    async fn serve(
        self: Rc<Self>,
        lock: Lock,
        listener: OwnedFd,
        client: OwnedFd,
    ) -> Result<(), ContainerError> {
        let failed = ContainerError::host("serve the container's socket");
        let open = || -> io::Result<(UnixListener, UnixStream)> {
            let listener = std::os::unix::net::UnixListener::from(listener);
            listener.set_nonblocking(true)?;
            let client = std::os::unix::net::UnixStream::from(client);
            client.set_nonblocking(true)?;
            Ok((UnixListener::from_std(listener)?, UnixStream::from_std(client)?))
        };
        let (listener, client) = open().map_err(failed)?;
        // The first client is heard before anything starts, so that it misses nothing. When it was killed before it
        // said anything, there is no client to run this for.
        let heard = session::begin(&self, client).await;
        failpoint::hit("monitor.heard-client");
        tokio::task::spawn_local(Rc::clone(&self).stop_when_told());
        let directory = self.container.borrow().directory.clone();
        let life = async {
            let end = match (heard, self.config.purpose) {
                (Err(e), purpose) => self.abandon(purpose, &lock, &e.message),
                (Ok(()), Purpose::Run) => self.live(&lock).await,
                (Ok(()), Purpose::Look) => Ok(self.look().await),
            };
            // No new client comes from here on: the next command finds what is recorded.
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
        // The record is written and the host clean before a client hears of the end.
        *self.last_end.borrow_mut() = message;
        self.phase.send_replace(Phase::Over);
        let mut clients = self.clients.subscribe();
        // A client that does not listen is left behind.
        let _ = tokio::time::timeout(FAREWELL, clients.wait_for(|&count| count == 0)).await;
        end.map(drop)
    }

    /// Has the container end, and not start again.
    fn request_stop(&self) {
        self.stop.set(true);
        self.hub.hurry();
        self.stopped.notify_waiters();
    }

    /// Changes the container's state on disk and here.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), ContainerError> {
        let mut container = self.container.borrow_mut();
        let mut state = container.state.clone();
        change(&mut state);
        container.set_state(state)
    }

    /// Tells the world what happened to the container.
    fn emit(&self, action: &str, attributes: &[(&str, String)]) {
        events::emit(self.containers.root(), &self.container.borrow(), action, attributes);
    }
}
