//! Processes beside a container's first one, by their ids: created, started, resized, waited for and asked about, each by
//! any process that knows the id.

use moat_containers::Container;
use moat_containers::state::Verb;
use moat_monitor::wire::{ClientMessage, MonitorMessage};
use moat_protocol::TerminalSize;
use moat_records::kind::ErrorKind;

pub use moat_monitor::wire::{ExecInfo, ExecRequest};
pub use moat_records::id::ExecId;

use crate::reach::Answered;
use crate::session::{AttachOptions, Session};
use crate::{Engine, EngineError};

impl Engine {
    /// Gets ready to start one more process in a container that runs. It is forgotten when it is not started within five
    /// minutes, or five minutes after it has ended.
    ///
    /// # Errors
    /// When the container's state does not allow it, or it has too many.
    pub fn exec_create(&self, container: &Container, process: ExecRequest) -> Result<ExecId, EngineError> {
        match self.ask(container, Verb::Exec, &ClientMessage::ExecCreate { process })? {
            Answered::Monitor(MonitorMessage::ExecCreated { id }) => Ok(id),
            _ => Err(EngineError::NotRunning(container.config.name.clone())),
        }
    }

    /// Starts it, with a client attached.
    ///
    /// # Errors
    /// When there is none of this id, it was started before, or its container's state does not allow it.
    pub fn exec_start(&self, id: &ExecId, options: &AttachOptions) -> Result<Session, EngineError> {
        let container = self.container_of(id)?;
        let mut session = self.session(&container, Verb::Exec)?;
        let AttachOptions { stdin, output, size } = *options;
        session.send(&ClientMessage::ExecStart { id: id.clone(), stdin, output, size })?;
        Ok(session)
    }

    /// Tells its terminal a new size.
    ///
    /// # Errors
    /// When there is none of this id, or it does not run.
    pub fn exec_resize(&self, id: &ExecId, size: TerminalSize) -> Result<(), EngineError> {
        self.ask_exec(id, &ClientMessage::ExecResize { id: id.clone(), size }).map(drop)
    }

    /// What is known of it.
    ///
    /// # Errors
    /// When there is none of this id.
    pub fn exec_inspect(&self, id: &ExecId) -> Result<ExecInfo, EngineError> {
        self.exec_info(id, &ClientMessage::ExecInspect { id: id.clone() })
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When there is none of this id, or its container ends first.
    pub fn exec_wait(&self, id: &ExecId) -> Result<ExecInfo, EngineError> {
        self.exec_info(id, &ClientMessage::ExecWait { id: id.clone() })
    }

    fn exec_info(&self, id: &ExecId, request: &ClientMessage) -> Result<ExecInfo, EngineError> {
        match self.ask_exec(id, request)? {
            MonitorMessage::Exec { exec } => Ok(exec),
            _ => Err(EngineError::NoExec(id.to_string())),
        }
    }

    fn ask_exec(&self, id: &ExecId, request: &ClientMessage) -> Result<MonitorMessage, EngineError> {
        match self.ask(&self.container_of(id)?, Verb::Wait, request) {
            Ok(Answered::Monitor(message)) => Ok(message),
            // Its execs ended with it.
            Ok(Answered::Idle(_) | Answered::Already) => Err(EngineError::NoExec(id.to_string())),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(EngineError::NoExec(id.to_string())),
            Err(e) => Err(e),
        }
    }

    /// The container that an exec belongs to.
    fn container_of(&self, id: &ExecId) -> Result<Container, EngineError> {
        let ids = self.containers().ids()?;
        let container = ids.into_iter().find(|container| id.may_be_of(container));
        let container = container.ok_or_else(|| EngineError::NoExec(id.to_string()))?;
        self.find(container.as_str())
    }
}
