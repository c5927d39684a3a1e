//! The guest's agent as its monitor sees it: requests with their answers, and the connections that the guest dials.
//! Everything that arrives here is hostile.

mod expected;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moat_protocol::frame::FrameError;
use moat_protocol::{
    ArchiveFailure, ArchiveTask, CONTROL_PORT, ContainerSpec, Dns, ExecSpec, GuestMessage, HostMessage,
    HostsEntry, Interface, MacAddress, PathStat, ProcessId, ProcessInfo, RequestId, STREAM_PORT, Stats,
    Stream, StreamHello, StreamToken, TerminalSize,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use expected::{Expected, ExpectedStreams, bounded};

use moat_monitor::wire::Refusal;

use super::link::{self, Receiver, Sender};
use super::vm::{Dialed, Vm};
use moat_records::id::random_hex;
use moat_records::signal;

/// How much processor time a guest may take from the first instruction to its first message. Far more than a boot takes on
/// any machine that can run one; it is there for guests that never come up.
pub const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// How much processor time a guest that gets somewhere has in its limit, however many others a busy host serves meanwhile.
const PROGRESS: Duration = Duration::from_millis(500);

/// How long a boot, or the start of a process, may take altogether.
const PATIENCE: Duration = Duration::from_secs(900);

/// How long the agent may take to answer, or to connect the streams of a request.
pub const AGENT_LIMIT: Duration = Duration::from_secs(60);

/// How long a connection from the guest may take to say what it is for.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// How many connections may be saying it at the same time; the next ones are hung up on.
const HELLOS: usize = 32;

/// How long a VM whose connections are gone may take to be gone itself.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The container's first process.
pub const MAIN: ProcessId = ProcessId(0);

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// 125, 126 or 127: Docker's exit code when a process was to be started.
    pub code: u8,
    /// What was asked and what was wrong.
    pub message: String,
}

impl RequestError {
    /// Something is wrong with the request or the guest rather than with a command.
    pub fn setup(message: impl ToString) -> Self {
        Self { code: super::CANNOT_RUN, message: message.to_string() }
    }

    fn lost() -> Self {
        Self::setup("the guest went away")
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::host(error.message)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Docker's exit code: the process's own, or 128 and the signal.
    pub code: u8,
    /// Whether the guest ran out of memory.
    pub oom_killed: bool,
}

/// A process that runs.
pub struct Running {
    /// Its name.
    pub process: ProcessId,
    /// What it writes.
    pub output: Option<StdUnixStream>,
    /// What it reads.
    pub stdin: Option<StdUnixStream>,
    /// What the container's programs ask about names.
    pub names: Option<StdUnixStream>,
    /// Told when it has ended; an error means that the guest was lost before.
    pub exit: oneshot::Receiver<Exit>,
}

/// An archive task that is under way.
pub struct Archiving {
    /// Its stream; a stat has none.
    pub stream: Option<StdUnixStream>,
    /// Told when it is done.
    pub done: oneshot::Receiver<ArchiveResult>,
}

/// What an archive task has come to first.
enum Connected {
    Stream(Option<StdUnixStream>),
    Result(ArchiveResult),
}

/// What came of an archive task.
pub type ArchiveResult = Result<Option<PathStat>, (ArchiveFailure, String)>;

/// The agent of a guest that is up.
pub struct Agent {
    vm: Rc<Vm>,
    control: tokio::sync::Mutex<Sender<HostMessage>>,
    incoming: RefCell<Option<Receiver<GuestMessage>>>,
    expected: RefCell<Expected>,
    last_id: Cell<u32>,
}

impl Agent {
    /// Waits for the agent's control connection and its greeting.
    ///
    /// # Errors
    /// When the guest does not come up.
    pub async fn greet(vm: &Rc<Vm>) -> Result<Self, RequestError> {
        tokio::select! {
            booted = vm.during(Self::first_message(vm)) => booted.map_err(RequestError::setup)?,
            seconds = overdue(vm, BOOT_LIMIT) => {
                Err(RequestError::setup(format!("the guest did not boot within {seconds} s")))
            }
        }
    }

    async fn first_message(vm: &Rc<Vm>) -> Result<Self, RequestError> {
        let dialed = vm.dialed().await.map_err(RequestError::setup)?;
        if dialed.port != CONTROL_PORT {
            return Err(RequestError::setup(format!("the guest dialed port {} first", dialed.port)));
        }
        let (mut incoming, control) = link::split(dialed.stream);
        match incoming.receive().await {
            Ok(GuestMessage::Hello) => Ok(Self {
                vm: Rc::clone(vm),
                control: tokio::sync::Mutex::new(control),
                incoming: RefCell::new(Some(incoming)),
                expected: RefCell::default(),
                last_id: Cell::new(MAIN.0),
            }),
            Ok(GuestMessage::BootFailed { phase, message }) => {
                let why = format!("the guest could not boot ({phase:?}): {message}");
                Err(RequestError::setup(bounded(why)))
            }
            Ok(other) => {
                let why = format!("the guest's agent broke the protocol: {other:?}");
                Err(RequestError::setup(bounded(why)))
            }
            Err(e) => Err(RequestError::setup(lost(vm, &e).await)),
        }
    }

    /// Carries what the guest sends to the tasks that wait for it, until the guest is lost; tells why.
    pub async fn serve(self: Rc<Self>, vm: &Vm) -> String {
        let Some(mut incoming) = self.incoming.borrow_mut().take() else { return String::new() };
        let hellos = Arc::new(Semaphore::new(HELLOS));
        let why = loop {
            tokio::select! {
                message = incoming.receive() => match message {
                    Ok(message) => if let Err(why) = self.expected.borrow_mut().take(message) { break why },
                    Err(e) => break lost(vm, &e).await,
                },
                dialed = vm.dialed() => if let Ok(dialed) = dialed {
                    self.admit(dialed, &hellos);
                },
            }
        };
        // The tasks that still wait learn that nothing comes any more.
        *self.expected.borrow_mut() = Expected::default();
        why
    }

    /// Lets a connection from the guest say what it is for. One that no task waits for is closed.
    fn admit(self: &Rc<Self>, dialed: Dialed, hellos: &Arc<Semaphore>) {
        let Ok(permit) = Arc::clone(hellos).try_acquire_owned() else { return };
        if dialed.port != STREAM_PORT || self.expected.borrow().streams.is_empty() {
            return;
        }
        let agent = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let _permit = permit;
            let mut connection = dialed.stream;
            let hello = timeout(HELLO_LIMIT, link::read::<StreamHello>(&mut connection)).await;
            if let Ok(Ok(hello)) = hello {
                agent.expected.borrow_mut().hand_over(&hello, connection);
            }
        });
    }

    /// Starts the container. Sent once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&self, spec: ContainerSpec) -> Result<Running, RequestError> {
        let mut wanted = wanted(spec.open_stdin, true);
        if spec.network.dns.is_resolved_by_host() {
            wanted.push(Stream::Names);
        }
        let message = |process, token| HostMessage::Start { process, token, spec: Box::new(spec) };
        self.run(MAIN, wanted, message).await
    }

    /// Starts one more process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn exec(&self, spec: ExecSpec) -> Result<Running, RequestError> {
        let wanted = wanted(spec.open_stdin, spec.open_output);
        let process = ProcessId(self.next_id());
        self.run(process, wanted, |process, token| HostMessage::Exec { process, token, spec: Box::new(spec) })
            .await
    }

    async fn run(
        &self,
        process: ProcessId,
        wanted: Vec<Stream>,
        message: impl FnOnce(ProcessId, StreamToken) -> HostMessage,
    ) -> Result<Running, RequestError> {
        let (started, start) = oneshot::channel();
        let (exited, exit) = oneshot::channel();
        {
            let mut expected = self.expected.borrow_mut();
            expected.starts.insert(process, started);
            expected.exits.insert(process, exited);
        }
        let (token, streams) = self.expect_streams(wanted.clone())?;
        let result = async {
            self.send(&message(process, token.clone())).await?;
            let began = async {
                // A start that failed has no streams to wait for.
                start.await.map_err(|_| RequestError::lost())??;
                collect(streams, wanted.len()).await
            };
            tokio::select! {
                streams = began => streams,
                seconds = overdue(&self.vm, AGENT_LIMIT) => {
                    // What it still says about the process has its place in the tables, and no task that listens.
                    self.signal(process, signal::KILL).await?;
                    Err(RequestError::setup(format!("the guest did not start the process within {seconds} s")))
                }
            }
        };
        let streams = result.await;
        self.expected.borrow_mut().streams.remove(&token.0);
        let mut streams = streams?;
        Ok(Running {
            process,
            output: streams.remove(&Stream::Output),
            stdin: streams.remove(&Stream::Stdin),
            names: streams.remove(&Stream::Names),
            exit,
        })
    }

    /// Begins an archive task.
    ///
    /// # Errors
    /// When the guest cannot be asked or does not connect the stream; a task that fails is told by its result.
    pub async fn archive(&self, task: ArchiveTask) -> Result<Archiving, RequestError> {
        let request = RequestId(self.next_id());
        let (sender, mut done) = oneshot::channel();
        self.expected.borrow_mut().archives.insert(request, sender);
        let wanted = match task {
            ArchiveTask::Stat { .. } => Vec::new(),
            _ => vec![Stream::Archive],
        };
        let (token, streams) = self.expect_streams(wanted.clone())?;
        self.send(&HostMessage::Archive { request, token: token.clone(), task }).await?;
        let connected = async {
            tokio::select! {
                biased;
                streams = collect(streams, wanted.len()) => Ok(Connected::Stream(streams?.remove(&Stream::Archive))),
                // It failed before it had anything to send.
                result = &mut done => result.map(Connected::Result).map_err(|_| RequestError::lost()),
            }
        };
        let connected = timeout(AGENT_LIMIT, connected).await;
        self.expected.borrow_mut().streams.remove(&token.0);
        match connected.map_err(|_| RequestError::setup("the guest did not answer in time"))?? {
            Connected::Stream(stream) => Ok(Archiving { stream, done }),
            Connected::Result(result) => {
                let (sender, done) = oneshot::channel();
                let _ = sender.send(result);
                Ok(Archiving { stream: None, done })
            }
        }
    }

    /// What the container uses.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn stats(&self) -> Result<Stats, RequestError> {
        let request = RequestId(self.next_id());
        let (sender, answer) = oneshot::channel();
        self.expected.borrow_mut().stats.insert(request, sender);
        self.ask(&HostMessage::Stats { request }, answer).await
    }

    /// The container's processes.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>, RequestError> {
        let request = RequestId(self.next_id());
        let (sender, answer) = oneshot::channel();
        self.expected.borrow_mut().processes.insert(request, sender);
        self.ask(&HostMessage::Processes { request }, answer).await
    }

    /// Takes a device of the VM into use as one more interface, adds `hosts` to the container's /etc/hosts and has `dns` in
    /// its /etc/resolv.conf. `device` is what the guest's kernel calls it on its platform bus.
    ///
    /// # Errors
    /// When the guest refuses or does not answer.
    pub async fn connect_network(
        &self,
        device: String,
        interface: Interface,
        hosts: Vec<HostsEntry>,
        dns: Dns,
    ) -> Result<(), RequestError> {
        let request = RequestId(self.next_id());
        let message = HostMessage::ConnectNetwork { request, device, interface, hosts, dns };
        self.change_network(request, message).await
    }

    /// Lets go of an interface, so that its device can be taken away.
    ///
    /// # Errors
    /// As [`Agent::connect_network`].
    pub async fn disconnect_network(&self, device: String, mac: MacAddress) -> Result<(), RequestError> {
        let request = RequestId(self.next_id());
        self.change_network(request, HostMessage::DisconnectNetwork { request, device, mac }).await
    }

    async fn change_network(&self, request: RequestId, message: HostMessage) -> Result<(), RequestError> {
        let (sender, answer) = oneshot::channel();
        self.expected.borrow_mut().networks.insert(request, sender);
        self.ask(&message, answer).await?.map_err(RequestError::setup)
    }

    async fn ask<T>(&self, message: &HostMessage, answer: oneshot::Receiver<T>) -> Result<T, RequestError> {
        self.send(message).await?;
        timeout(AGENT_LIMIT, answer)
            .await
            .map_err(|_| RequestError::setup("the guest did not answer in time"))?
            .map_err(|_| RequestError::lost())
    }

    /// Sends a signal to a process.
    ///
    /// # Errors
    /// When the guest is lost.
    pub async fn signal(&self, process: ProcessId, signal: i32) -> Result<(), RequestError> {
        self.send(&HostMessage::Signal { process, signal }).await
    }

    /// Sets the size of a process's terminal.
    ///
    /// # Errors
    /// When the guest is lost.
    pub async fn resize(&self, process: ProcessId, size: TerminalSize) -> Result<(), RequestError> {
        self.send(&HostMessage::Resize { process, size }).await
    }

    /// Sends something that has no answer.
    ///
    /// # Errors
    /// When the guest is lost.
    pub async fn send(&self, message: &HostMessage) -> Result<(), RequestError> {
        let sent = self.control.lock().await.send(message).await;
        sent.map_err(|e| RequestError::setup(format!("lost the guest's agent: {e}")))
    }

    fn next_id(&self) -> u32 {
        self.last_id.set(self.last_id.get().wrapping_add(1).max(1));
        self.last_id.get()
    }

    fn expect_streams(
        &self,
        wanted: Vec<Stream>,
    ) -> Result<(StreamToken, mpsc::UnboundedReceiver<(Stream, StdUnixStream)>), RequestError> {
        let token = StreamToken(random_hex(16).map_err(RequestError::setup)?);
        // At most as many as are wanted are ever sent.
        let (receiver, arriving) = mpsc::unbounded_channel();
        if !wanted.is_empty() {
            let streams = ExpectedStreams { wanted, receiver };
            self.expected.borrow_mut().streams.insert(token.0.clone(), streams);
        }
        Ok((token, arriving))
    }
}

/// Returns when a guest should long have said something, with the seconds that it had: when `limit` has passed and it did
/// nothing, or as much processor time.
async fn overdue(vm: &Vm, limit: Duration) -> u64 {
    let (began, at_first) = (Instant::now(), vm.processor_time());
    let mut before = at_first;
    loop {
        tokio::time::sleep(limit).await;
        let (now, passed) = (vm.processor_time(), began.elapsed());
        let stuck = now.saturating_sub(before) < PROGRESS;
        if stuck || now.saturating_sub(at_first) >= limit || passed >= PATIENCE {
            return passed.as_secs();
        }
        before = now;
    }
}

fn wanted(stdin: bool, output: bool) -> Vec<Stream> {
    [(stdin, Stream::Stdin), (output, Stream::Output)]
        .into_iter()
        .filter_map(|(wanted, stream)| wanted.then_some(stream))
        .collect()
}

async fn collect(
    mut arriving: mpsc::UnboundedReceiver<(Stream, StdUnixStream)>,
    count: usize,
) -> Result<HashMap<Stream, StdUnixStream>, RequestError> {
    let mut streams = HashMap::new();
    while streams.len() < count {
        let (stream, connection) = arriving.recv().await.ok_or_else(RequestError::lost)?;
        streams.insert(stream, connection);
    }
    Ok(streams)
}

/// Why the agent cannot be heard any more. When the VM is what ended, its own words say more.
async fn lost(vm: &Vm, error: &FrameError) -> String {
    match timeout(END_LIMIT, vm.ended()).await {
        Ok(why) => why.to_string(),
        // What is wrong with a message is told with a part of it.
        Err(_) => bounded(format!("lost the guest's agent: {error}")),
    }
}
