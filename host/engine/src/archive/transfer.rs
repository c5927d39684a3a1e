//! Archive tasks: asking a container's monitor, and what comes back.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use moat_protocol::frame::FrameError;
use moat_protocol::tar::TarError;
use moat_protocol::{ArchiveFailure, ArchiveTask, PathStat};

use super::ArchiveError;
use crate::Engine;
use moat_containers::Container;
use moat_containers::state::Verb;
use moat_monitor::Connection;
use moat_monitor::wire::{ClientMessage, MonitorMessage, Refusal};
use moat_records::failpoint;
use moat_records::kind::ErrorKind;

/// How long a guest may take from the end of a stream to its last word. It writes what it has been sent to its disk
/// meanwhile.
const LAST_WORD_LIMIT: Duration = Duration::from_secs(120);

/// The files of one container.
pub struct Files<'a> {
    engine: &'a Engine,
    container: Container,
    verb: Verb,
    /// A connection for the next task. A VM that was booted only for this lives while a client is connected.
    next: Option<Connection>,
}

/// A task whose stream is open.
pub struct Transfer {
    stream: UnixStream,
    connection: Connection,
    container: String,
    path: String,
}

impl<'a> Files<'a> {
    /// The files of `container`, for a command that is called `verb`. Nothing is asked yet.
    pub fn new(engine: &'a Engine, container: Container, verb: Verb) -> Self {
        Self { engine, container, verb, next: None }
    }

    /// The container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The engine that it belongs to.
    pub fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// Looks at a path; nothing when there is nothing. More tasks may follow.
    ///
    /// # Errors
    /// When the container cannot be reached or the guest cannot tell.
    pub fn stat(&mut self, path: &str, follow: bool) -> Result<Option<PathStat>, ArchiveError> {
        let task = ArchiveTask::Stat { path: path.to_owned(), follow };
        match self.ask(task, true)?.1 {
            MonitorMessage::ArchiveDone { stat: Some(stat) } => Ok(Some(stat)),
            MonitorMessage::ArchiveFailed { failure: ArchiveFailure::NotFound, .. } => Ok(None),
            other => Err(self.failure(other, path)),
        }
    }

    /// Begins a task that has a stream.
    ///
    /// # Errors
    /// When the container cannot be reached, or the guest cannot do it.
    pub fn begin(&mut self, task: ArchiveTask) -> Result<Transfer, ArchiveError> {
        let path = match &task {
            ArchiveTask::Stat { path, .. }
            | ArchiveTask::Read { path, .. }
            | ArchiveTask::Write { path, .. } => path.clone(),
            ArchiveTask::Changes | ArchiveTask::Layer { .. } => "/".to_owned(),
        };
        match self.ask(task, false)? {
            (connection, MonitorMessage::Stream, Some(stream)) => {
                // The monitor may have made it non-blocking.
                stream.set_nonblocking(false).map_err(ArchiveError::Stream)?;
                failpoint::hit("transfer.begun");
                Ok(Transfer { stream, connection, container: self.name(), path })
            }
            (_, other, _) => Err(self.failure(other, &path)),
        }
    }

    /// Sends a request and waits for the first answer. If there is `more` to do, the connection for that is made at once:
    /// it is what keeps the VM.
    fn ask(
        &mut self,
        task: ArchiveTask,
        more: bool,
    ) -> Result<(Connection, MonitorMessage, Option<UnixStream>), ArchiveError> {
        let request = ClientMessage::Archive { task };
        let Self { engine, container, verb, next } = self;
        let connect = || engine.reach_files(container, *verb).map(Connection::new);
        let (connection, message, descriptors) = engine.attempt(container, |_| {
            let mut connection = match next.take() {
                Some(connection) => connection,
                None => connect()?,
            };
            let sent = connection.send(&request);
            if more {
                // Without it the next task goes its own way.
                *next = connect().ok();
            }
            let answer = sent.and_then(|()| connection.receive());
            Ok(answer.map(|(message, descriptors)| (connection, message, descriptors)))
        })?;
        Ok((connection, message, descriptors.into_iter().next().map(UnixStream::from)))
    }

    fn failure(&self, message: MonitorMessage, path: &str) -> ArchiveError {
        failure(message, &self.container.config.name, path)
    }

    fn name(&self) -> String {
        self.container.config.name.clone()
    }
}

impl Transfer {
    /// Hears how the task ended. What was written is known to be complete by the guest from here on.
    ///
    /// # Errors
    /// When the guest says that it failed, or does not say anything.
    pub fn finish(self) -> Result<Option<PathStat>, ArchiveError> {
        self.finish_within(LAST_WORD_LIMIT)
    }

    fn finish_within(mut self, limit: Duration) -> Result<Option<PathStat>, ArchiveError> {
        failpoint::hit("transfer.streamed");
        // A guest that has closed its end already says why, if it matters.
        let _ = self.stream.shutdown(Shutdown::Write);
        match self.connection.receive_within(limit) {
            Ok((MonitorMessage::ArchiveDone { stat }, _)) => Ok(stat),
            Ok((other, _)) => Err(failure(other, &self.container, &self.path)),
            Err(FrameError::Io(e)) if e.kind() == io::ErrorKind::TimedOut => Err(ArchiveError::Guest {
                container: self.container,
                kind: ErrorKind::Host,
                message: format!("the guest did not say within {} s whether this was all", limit.as_secs()),
            }),
            Err(cause) => Err(ArchiveError::Monitor { container: self.container, cause }),
        }
    }

    /// The reason for a transfer that stopped with `error`: the guest's own when it was the guest that stopped.
    pub fn reason(self, error: ArchiveError) -> ArchiveError {
        let by_guest = matches!(error, ArchiveError::Tar(TarError::Incomplete) | ArchiveError::Stream(_));
        if !by_guest {
            return error;
        }
        self.finish().err().unwrap_or(error)
    }
}

impl Read for Transfer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Transfer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn failure(message: MonitorMessage, container: &str, path: &str) -> ArchiveError {
    let container = container.to_owned();
    match message {
        MonitorMessage::ArchiveFailed { failure: ArchiveFailure::NotFound, .. } => {
            ArchiveError::NotFound { container, path: path.to_owned() }
        }
        MonitorMessage::ArchiveFailed { failure, message } => {
            let kind = match failure {
                ArchiveFailure::NotFound => ErrorKind::NotFound,
                ArchiveFailure::WrongKind | ArchiveFailure::BadArchive => ErrorKind::Invalid,
                ArchiveFailure::Io => ErrorKind::Host,
            };
            ArchiveError::Guest { container, kind, message }
        }
        MonitorMessage::Refused(Refusal { kind, message, .. }) => {
            ArchiveError::Guest { container, kind, message }
        }
        MonitorMessage::Failed { message, .. } => {
            ArchiveError::Guest { container, kind: ErrorKind::Host, message }
        }
        _ => {
            let message = "the guest gave up".to_owned();
            ArchiveError::Guest { container, kind: ErrorKind::Host, message }
        }
    }
}

#[cfg(test)]
mod tests {
    use moat_protocol::frame;

    use super::*;

    /// A transfer whose monitor says this and goes away, and what the guest has sent by then.
    fn transfer(sent: &[u8], said: Option<&MonitorMessage>) -> Transfer {
        let (stream, mut guest) = UnixStream::pair().unwrap();
        let (client, mut monitor) = UnixStream::pair().unwrap();
        guest.write_all(sent).unwrap();
        if let Some(message) = said {
            monitor.write_all(&frame::encode(message).unwrap()).unwrap();
        }
        Transfer {
            stream,
            connection: Connection::new(client),
            container: "web".to_owned(),
            path: "/a".to_owned(),
        }
    }

    fn failed(failure: ArchiveFailure, message: &str) -> MonitorMessage {
        MonitorMessage::ArchiveFailed { failure, message: message.to_owned() }
    }

    #[test]
    fn the_end_is_what_the_guest_says() {
        transfer(b"", Some(&MonitorMessage::ArchiveDone { stat: None })).finish().unwrap();
        for (said, words) in [
            (Some(failed(ArchiveFailure::NotFound, "x")), "No such container:path: web:/a"),
            (Some(failed(ArchiveFailure::Io, "disk\u{1b}full")), "container web: disk\u{fffd}full"),
            (Some(MonitorMessage::Refused(Refusal::host("no"))), "container web: no"),
            (Some(MonitorMessage::Done), "gave up"),
            (None, "container web: "),
        ] {
            let error = transfer(b"", said.as_ref()).finish().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_guest_that_never_says_whether_it_was_all_is_left() {
        let (client, _monitor) = UnixStream::pair().unwrap();
        let silent = Transfer { connection: Connection::new(client), ..transfer(b"", None) };
        let error = silent.finish_within(Duration::from_millis(20)).unwrap_err().to_string();
        assert!(error.contains("web") && error.contains("whether this was all"), "{error}");
    }

    #[test]
    fn a_stream_that_ends_early_has_the_guests_reason() {
        let mut cut = transfer(b"short", Some(&failed(ArchiveFailure::Io, "read error")));
        let mut bytes = Vec::new();
        cut.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"short");
        let error = cut.reason(TarError::Incomplete.into());
        assert_eq!(error.to_string(), "container web: read error");
        // Our own reasons are told as they are, without waiting for the guest.
        let error = transfer(b"", None).reason(ArchiveError::Rules("ours".to_owned()));
        assert_eq!(error.to_string(), "ours");
        let done = MonitorMessage::ArchiveDone { stat: None };
        let error = transfer(b"", Some(&done)).reason(TarError::Incomplete.into());
        assert!(matches!(error, ArchiveError::Tar(TarError::Incomplete)));
    }
}
