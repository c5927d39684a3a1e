//! The guest as its monitor sees it: the agent's control connection and the streams of the container's process.
//! Everything that arrives here is hostile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moat_protocol::frame::FrameError;
use moat_protocol::{
    CONTROL_PORT, ExitStatus, GuestMessage, HostMessage, ProcessId, STREAM_PORT, StartFailure, Stream,
    StreamHello, StreamToken,
};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::{Attached, Client};
use super::link::{self, Link};
use super::spec::container_spec;
use super::streams::{self, SharedLog};
use super::vm::Vm;
use super::wire::ClientMessage;
use crate::engine::container::Container;
use crate::engine::id::random_hex;
use crate::engine::log::{Source, Writer};

/// How long a guest may take from the first instruction to its first message. Far more than a boot takes on any
/// machine that can run one; it is there for guests that never come up.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// How long the agent may take to set the container up and connect its streams, or to power off.
const AGENT_LIMIT: Duration = Duration::from_secs(60);

/// How long a VM whose connections are gone may take to be gone itself.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The container's first process.
const MAIN: ProcessId = ProcessId(0);

/// The control connection.
type Control = Link<GuestMessage, HostMessage>;

/// A guest whose process runs.
pub struct Guest {
    control: Control,
    outputs: Vec<JoinHandle<()>>,
    input: Option<JoinHandle<()>>,
    log: SharedLog,
}

/// Why a process could not be started: Docker's exit code, and the words for the user.
pub struct StartError {
    /// 125, 126 or 127.
    pub code: u8,
    /// What was asked and what was wrong.
    pub message: String,
}

impl StartError {
    fn setup(message: impl ToString) -> Self {
        Self { code: super::CANNOT_RUN, message: message.to_string() }
    }
}

/// How a process ended.
pub struct Exit {
    /// Docker's exit code: the process's own, or 128 and the signal.
    pub code: u8,
    /// Whether the guest ran out of memory.
    pub oom_killed: bool,
}

impl Guest {
    /// Waits for the guest to boot and starts the container's process in it, its streams connected.
    ///
    /// # Errors
    /// When the guest does not come up, or the process cannot be started.
    pub async fn start(vm: &Vm, container: &Container, attached: Attached) -> Result<Self, StartError> {
        let mut control = timeout(BOOT_LIMIT, vm.during(greet(vm)))
            .await
            .map_err(|_| {
                StartError::setup(format!("the guest did not boot within {} s", BOOT_LIMIT.as_secs()))
            })?
            .map_err(StartError::setup)??;
        let log = Writer::open(&container.directory)
            .map_err(|e| StartError::setup(format!("cannot open the container's log: {e}")))?;
        let token = StreamToken(random_hex(16).map_err(StartError::setup)?);
        let spec = container_spec(&container.config, attached.size).map_err(StartError::setup)?;
        let wanted = wanted_streams(container);
        let start = HostMessage::Start { process: MAIN, token: token.clone(), spec: Box::new(spec) };
        control.send(&start).await.map_err(StartError::setup)?;
        let streams = timeout(AGENT_LIMIT, vm.during(connect(vm, &mut control, wanted, &token)))
            .await
            .map_err(|_| StartError::setup("the guest did not start the process in time"))?
            .map_err(StartError::setup)??;
        Ok(Self::carry(control, streams, attached, Arc::new(Mutex::new(log))))
    }

    /// Sets the streams in motion.
    fn carry(
        control: Control,
        streams: Vec<(Stream, UnixStream)>,
        attached: Attached,
        log: SharedLog,
    ) -> Self {
        let mut guest = Self { control, outputs: Vec::new(), input: None, log: log.clone() };
        let Attached { mut stdin, mut stdout, mut stderr, .. } = attached;
        for (stream, connection) in streams {
            let (client, source) = match stream {
                Stream::Stdin => {
                    // Without a client there is no input: dropping the connection is the end of file.
                    guest.input = stdin.take().map(|client| tokio::spawn(streams::input(client, connection)));
                    continue;
                }
                Stream::Stdout => (stdout.take(), Source::Stdout),
                Stream::Stderr => (stderr.take(), Source::Stderr),
            };
            guest.outputs.push(tokio::spawn(streams::output(connection, client, source, log.clone())));
        }
        guest
    }

    /// Serves the client and the guest until the process has ended and its output is complete.
    ///
    /// # Errors
    /// In words, when the VM ends or the agent breaks the protocol.
    pub async fn supervise(&mut self, vm: &Vm, client: &mut Client) -> Result<Exit, String> {
        let exit = vm.during(self.until_exit(vm, client)).await.map_err(|e| e.to_string())??;
        vm.during(self.drain()).await.map_err(|e| e.to_string())?;
        Ok(exit)
    }

    async fn until_exit(&mut self, vm: &Vm, client: &mut Client) -> Result<Exit, String> {
        loop {
            tokio::select! {
                message = self.control.receive() => match message {
                    Ok(GuestMessage::Exited { process: MAIN, status, oom_killed }) => {
                        return Ok(Exit { code: exit_code(status), oom_killed });
                    }
                    Ok(other) => return Err(format!("the guest's agent broke the protocol: {other:?}")),
                    Err(e) => return Err(lost(vm, &e).await),
                },
                message = client.next() => self.forward(message).await?,
                // The agent has all its connections; whatever else dials from the guest is hung up on.
                _ = vm.dialed() => {}
            }
        }
    }

    async fn forward(&mut self, message: ClientMessage) -> Result<(), String> {
        let message = match message {
            ClientMessage::Signal { signal } => HostMessage::Signal { process: MAIN, signal },
            ClientMessage::Resize { size } => HostMessage::Resize { process: MAIN, size },
            // A client attaches once; what else it says about that is nothing to the guest.
            ClientMessage::Attach { .. } => return Ok(()),
        };
        self.control.send(&message).await.map_err(|e| format!("lost the guest's agent: {e}"))
    }

    /// Waits until the guest's output has been carried to its end, and completes the log.
    pub async fn drain(&mut self) {
        if let Some(input) = self.input.take() {
            input.abort();
        }
        for output in &mut self.outputs {
            // It ends by itself; that it panicked is in the monitor's log.
            let _ = output.await;
        }
        self.outputs.clear();
        if let Err(e) = self.log.lock().unwrap_or_else(PoisonError::into_inner).finish() {
            tracing::warn!("output is missing from the log: {e}");
        }
    }

    /// Has the guest write its disk back and power off.
    pub async fn shut_down(&mut self, vm: &Vm) {
        let gone = async {
            // A guest that cannot be told is killed after the same wait as one that does not listen.
            let _ = self.control.send(&HostMessage::Shutdown).await;
            vm.ended().await
        };
        if timeout(AGENT_LIMIT, gone).await.is_err() {
            tracing::warn!("the guest did not power off within {} s and is killed", AGENT_LIMIT.as_secs());
        }
    }
}

/// Waits for the agent's control connection and its greeting.
async fn greet(vm: &Vm) -> Result<Control, StartError> {
    let dialed = vm.dialed().await.map_err(StartError::setup)?;
    if dialed.port != CONTROL_PORT {
        return Err(StartError::setup(format!("the guest dialed port {} first", dialed.port)));
    }
    let mut control = Control::new(dialed.stream);
    match control.receive().await {
        Ok(GuestMessage::Hello) => Ok(control),
        Ok(GuestMessage::BootFailed { phase, message }) => {
            Err(StartError::setup(format!("the guest could not boot ({phase:?}): {message}")))
        }
        Ok(other) => Err(StartError::setup(format!("the guest's agent broke the protocol: {other:?}"))),
        Err(e) => Err(StartError::setup(lost(vm, &e).await)),
    }
}

/// Why the agent cannot be heard any more. When the VM is what ended, its own words say more.
async fn lost(vm: &Vm, error: &FrameError) -> String {
    match timeout(END_LIMIT, vm.ended()).await {
        Ok(why) => why.to_string(),
        Err(_) => format!("lost the guest's agent: {error}"),
    }
}

fn wanted_streams(container: &Container) -> Vec<Stream> {
    let process = &container.config.process;
    let mut wanted = vec![Stream::Stdout];
    if process.open_stdin {
        wanted.push(Stream::Stdin);
    }
    if !process.terminal {
        wanted.push(Stream::Stderr);
    }
    wanted
}

/// Takes the process's streams, each once and only with the token, until the agent says that the process runs.
async fn connect(
    vm: &Vm,
    control: &mut Control,
    mut wanted: Vec<Stream>,
    token: &StreamToken,
) -> Result<Vec<(Stream, UnixStream)>, StartError> {
    let mut streams = Vec::new();
    let mut started = false;
    while !(started && wanted.is_empty()) {
        tokio::select! {
            message = control.receive(), if !started => match message {
                Ok(GuestMessage::Started { process: MAIN }) => started = true,
                Ok(GuestMessage::StartFailed { process: MAIN, failure, message }) => {
                    return Err(StartError { code: failure_code(failure), message });
                }
                Ok(other) => {
                    return Err(StartError::setup(format!("the guest's agent broke the protocol: {other:?}")));
                }
                Err(e) => return Err(StartError::setup(lost(vm, &e).await)),
            },
            dialed = vm.dialed() => {
                let dialed = dialed.map_err(StartError::setup)?;
                let mut connection = dialed.stream;
                if dialed.port != STREAM_PORT {
                    continue;
                }
                let Ok(hello) = link::read::<StreamHello>(&mut connection).await else { continue };
                if hello.process != MAIN || hello.token != *token {
                    continue;
                }
                if let Some(at) = wanted.iter().position(|stream| *stream == hello.stream) {
                    wanted.swap_remove(at);
                    streams.push((hello.stream, connection));
                }
            }
        }
    }
    Ok(streams)
}

fn exit_code(status: ExitStatus) -> u8 {
    match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => signal.saturating_add(128),
    }
}

fn failure_code(failure: StartFailure) -> u8 {
    match failure {
        StartFailure::NotFound => 127,
        StartFailure::NotExecutable => 126,
        StartFailure::Setup => super::CANNOT_RUN,
    }
}
