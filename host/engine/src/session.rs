//! Sessions: a client that stays with a process of a container, from its start to its end or until the client leaves.
//!
//! The engine carries streams, exit and sizes. Which terminal, which signals and which keys leave it is the face's to
//! decide.

use std::io;
use std::os::unix::net::UnixStream;

use moat_containers::Container;
use moat_containers::state::Verb;
use moat_images::store::Image;
use moat_monitor::Connection;
use moat_monitor::config::Purpose;
use moat_monitor::wire::{ClientMessage, ExecRequest, MonitorMessage};
use moat_protocol::frame::FrameError;

pub use moat_protocol::TerminalSize;

use crate::output::Output;
use crate::reach::Reached;
use crate::{CreateOptions, Engine, EngineError};

/// What a client wants of a process's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Whether it has input for the process.
    pub stdin: bool,
    /// Whether it wants the process's output.
    pub output: bool,
    /// The size of its terminal.
    pub size: Option<TerminalSize>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The process ended.
    Exited {
        /// Docker's exit code.
        code: u8,
        /// What went wrong outside the process.
        error: Option<String>,
    },
    /// It could not be started.
    Failed {
        /// Docker's exit code: 125, 126 or 127.
        code: u8,
        /// What was asked and what was wrong.
        message: String,
    },
    /// The client left; the process goes on.
    Detached,
}

/// A client's session with a process.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    container: String,
}

/// The streams of a process that runs.
#[derive(Debug)]
pub struct Streams {
    /// What it writes, if that was wanted.
    pub output: Option<Output>,
    /// What it reads, if it has input and that was wanted.
    pub stdin: Option<UnixStream>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether the client's end of input is the process's.
    pub stdin_ends: bool,
}

/// What a session has come to first.
#[derive(Debug)]
pub enum Opened {
    /// The process runs.
    Running(Streams),
    /// It is over.
    Ended(End),
}

/// A session's other handle: tells the process of signals and sizes, and the monitor that the client leaves.
#[derive(Debug)]
pub struct Control(Connection);

impl Control {
    /// Sends a signal to the process. One that is sent before it runs reaches it when it does.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn kill(&mut self, signal: i32) -> Result<(), EngineError> {
        self.tell(&ClientMessage::Kill { signal })
    }

    /// Tells the process that the client's terminal has another size.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn resize(&mut self, size: TerminalSize) -> Result<(), EngineError> {
        self.tell(&ClientMessage::Resize { size })
    }

    /// Tells that the client reads no more output.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn hang_up(&mut self) -> Result<(), EngineError> {
        self.tell(&ClientMessage::Hangup)
    }

    /// Leaves: the session ends with [`End::Detached`], and the process goes on as if the client had not left.
    ///
    /// # Errors
    /// When the monitor is gone.
    pub fn detach(&mut self) -> Result<(), EngineError> {
        self.tell(&ClientMessage::Detach)
    }

    fn tell(&mut self, message: &ClientMessage) -> Result<(), EngineError> {
        self.0.send(message).map_err(EngineError::Lost)
    }
}

impl Session {
    pub(crate) fn new(container: &Container, stream: UnixStream) -> Self {
        Self { connection: Connection::new(stream), container: container.config.name.clone() }
    }

    /// Asks the container's first process for a session.
    pub(crate) fn ask_for(&mut self, options: &AttachOptions) -> Result<(), EngineError> {
        let AttachOptions { stdin, output, size } = *options;
        self.send(&ClientMessage::Attach { stdin, output, size })
    }

    pub(crate) fn send(&mut self, request: &ClientMessage) -> Result<(), EngineError> {
        self.connection.send(request).map_err(EngineError::Lost)
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Another handle on this session.
    ///
    /// # Errors
    /// When this process is out of descriptors.
    pub fn control(&self) -> Result<Control, EngineError> {
        self.connection.try_clone().map(Control).map_err(EngineError::host("copy a descriptor"))
    }

    /// Waits until the process runs.
    ///
    /// # Errors
    /// When the session is refused, or the monitor is lost.
    pub fn open(&mut self) -> Result<Opened, EngineError> {
        let (message, descriptors) = self.connection.receive().map_err(|e| self.lost(e))?;
        let MonitorMessage::Started { output, stdin, terminal, stdin_ends } = message else {
            return self.end(message).map(Opened::Ended);
        };
        let mut descriptors = descriptors.into_iter().map(UnixStream::from);
        let output = output.then(|| descriptors.next()).flatten();
        let stdin = stdin.then(|| descriptors.next()).flatten();
        let output = output.map(|stream| Output::new(stream, terminal)).transpose();
        let output = output.map_err(EngineError::host("follow the process's output"))?;
        Ok(Opened::Running(Streams { output, stdin, terminal, stdin_ends }))
    }

    /// Waits until the process runs, and leaves it to itself: nothing when it does, and how it ended when it has.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn started(mut self) -> Result<Option<End>, EngineError> {
        match self.open()? {
            Opened::Running(_) => Ok(None),
            Opened::Ended(end) => Ok(Some(end)),
        }
    }

    /// Waits until the process has ended, or the client has left.
    ///
    /// # Errors
    /// When the monitor is lost.
    pub fn wait(&mut self) -> Result<End, EngineError> {
        let (message, _) = self.connection.receive().map_err(|e| self.lost(e))?;
        self.end(message)
    }

    fn end(&self, message: MonitorMessage) -> Result<End, EngineError> {
        match message {
            MonitorMessage::Exited { code, error } => Ok(End::Exited { code, error }),
            MonitorMessage::Failed { code, message } => Ok(End::Failed { code, message }),
            MonitorMessage::Done => Ok(End::Detached),
            MonitorMessage::Refused(refusal) => {
                Err(EngineError::Refused { container: self.container.clone(), refusal })
            }
            other => Err(EngineError::Monitor {
                container: self.container.clone(),
                cause: FrameError::Io(io::Error::other(format!("it answered something else: {other:?}"))),
            }),
        }
    }

    fn lost(&self, cause: FrameError) -> EngineError {
        match cause {
            FrameError::Version { found: version, .. } => {
                EngineError::MonitorVersion { container: self.container.clone(), version }
            }
            other => EngineError::Lost(other),
        }
    }
}

impl Engine {
    /// Creates a container from `image` and starts it with a client attached, who misses nothing of its output. `created` hears of the
    /// container before it starts. With `debug_console` the guest's console goes to this process's stderr.
    ///
    /// # Errors
    /// When it cannot be created or started; nothing of it is left then.
    pub fn run<E: From<EngineError>>(
        &self,
        image: &Image,
        options: CreateOptions,
        session: &AttachOptions,
        debug_console: bool,
        created: impl FnOnce(&Container) -> Result<(), E>,
    ) -> Result<Session, E> {
        let held = self.create_running(image, options)?;
        created(&held.container)?;
        let container = held.container.clone();
        let mut attached =
            Session::new(&container, self.start_monitor(held, Some(image), Purpose::Run, debug_console)?);
        attached.ask_for(session)?;
        Ok(attached)
    }

    /// Attaches a client to a container that runs.
    ///
    /// # Errors
    /// When its state does not allow it, or its monitor does not answer.
    pub fn attach(&self, container: &Container, options: &AttachOptions) -> Result<Session, EngineError> {
        let mut session = self.session(container, Verb::Attach)?;
        session.ask_for(options)?;
        Ok(session)
    }

    /// Starts a container, unless it runs, with a client attached.
    ///
    /// # Errors
    /// When its state does not allow it, or it cannot be started.
    pub fn start_attached(
        &self,
        container: &Container,
        options: &AttachOptions,
    ) -> Result<Session, EngineError> {
        let stream = self.attempt(container, |engine| {
            if let Some(held) = engine.containers().hold_to_start(container)? {
                return engine.start_monitor(held, None, Purpose::Run, false).map(Ok);
            }
            match engine.reach(container, Verb::Attach) {
                Ok(Reached::Monitor(stream)) => Ok(Ok(stream)),
                // It ended since it was seen to run.
                Ok(Reached::Idle(_) | Reached::Already(_)) => Ok(Err(FrameError::Closed)),
                Err(e) if e.state().is_some_and(|state| !state.is_live()) => Ok(Err(FrameError::Closed)),
                Err(e) => Err(e),
            }
        })?;
        let mut session = Session::new(container, stream);
        session.ask_for(options)?;
        Ok(session)
    }

    /// Runs one more process in a container that runs.
    ///
    /// # Errors
    /// When the container's state does not allow it, or its monitor does not answer.
    pub fn exec(
        &self,
        container: &Container,
        process: ExecRequest,
        size: Option<TerminalSize>,
    ) -> Result<Session, EngineError> {
        let mut session = self.session(container, Verb::Exec)?;
        session.send(&ClientMessage::Exec { process, size })?;
        Ok(session)
    }

    pub(crate) fn session(&self, container: &Container, verb: Verb) -> Result<Session, EngineError> {
        match self.reach(container, verb)? {
            Reached::Monitor(stream) => Ok(Session::new(container, stream)),
            Reached::Idle(_) | Reached::Already(_) => Err(self.gone(container)),
        }
    }
}
