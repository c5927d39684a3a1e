//! What the agent owes: answers and connections, and who waits for each.

use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdUnixStream;

use moat_protocol::{
    ExitStatus, GuestMessage, ProcessId, ProcessInfo, RequestId, StartFailure, Stats, Stream, StreamHello,
};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::{ArchiveResult, Exit, RequestError};
use crate::CANNOT_RUN;

/// How much of what a guest says is kept for people, in bytes. It could send megabytes, which would go into records and
/// onto terminals.
const MAX_WORDS: usize = 4096;

/// What a guest says, no longer than people read.
pub fn bounded(mut words: String) -> String {
    if words.len() > MAX_WORDS {
        let end = (0..=MAX_WORDS).rev().find(|&at| words.is_char_boundary(at));
        words.truncate(end.unwrap_or(0));
        words.push_str("...");
    }
    words
}

/// The streams of one request that have not been dialed yet, and who gets them.
pub struct ExpectedStreams {
    pub wanted: Vec<Stream>,
    pub receiver: mpsc::UnboundedSender<(Stream, StdUnixStream)>,
}

/// What the agent owes.
#[derive(Default)]
pub struct Expected {
    /// By the token that the connections will present.
    pub streams: HashMap<String, ExpectedStreams>,
    pub starts: HashMap<ProcessId, oneshot::Sender<Result<(), RequestError>>>,
    pub exits: HashMap<ProcessId, oneshot::Sender<Exit>>,
    pub archives: HashMap<RequestId, oneshot::Sender<ArchiveResult>>,
    pub stats: HashMap<RequestId, oneshot::Sender<Stats>>,
    pub processes: HashMap<RequestId, oneshot::Sender<Vec<ProcessInfo>>>,
    pub networks: HashMap<RequestId, oneshot::Sender<Result<(), String>>>,
}

impl Expected {
    /// Hands a message of the agent to the task that waits for it.
    ///
    /// # Errors
    /// A sentence for the user, when no task has asked for such a message.
    pub fn take(&mut self, message: GuestMessage) -> Result<(), String> {
        let unexpected =
            || "the guest's agent broke the protocol: it answered what it was not asked".to_owned();
        // The task that asked may have ended since, which is nothing to the guest.
        match message {
            GuestMessage::Started { process } => {
                let _ = self.starts.remove(&process).ok_or_else(unexpected)?.send(Ok(()));
            }
            GuestMessage::StartFailed { process, failure, message } => {
                let error = RequestError { code: failure_code(failure), message: bounded(message) };
                let _ = self.starts.remove(&process).ok_or_else(unexpected)?.send(Err(error));
                self.exits.remove(&process);
            }
            GuestMessage::Exited { process, status, oom_killed } => {
                let exit = Exit { code: exit_code(status), oom_killed };
                if self.starts.contains_key(&process) {
                    return Err(unexpected());
                }
                let _ = self.exits.remove(&process).ok_or_else(unexpected)?.send(exit);
            }
            GuestMessage::ArchiveDone { request, stat } => {
                let _ = self.archives.remove(&request).ok_or_else(unexpected)?.send(Ok(stat));
            }
            GuestMessage::ArchiveFailed { request, failure, message } => {
                let failed = Err((failure, bounded(message)));
                let _ = self.archives.remove(&request).ok_or_else(unexpected)?.send(failed);
            }
            GuestMessage::Stats { request, stats } => {
                let _ = self.stats.remove(&request).ok_or_else(unexpected)?.send(stats);
            }
            GuestMessage::Processes { request, processes } => {
                let _ = self.processes.remove(&request).ok_or_else(unexpected)?.send(processes);
            }
            GuestMessage::NetworkChanged { request } => {
                let _ = self.networks.remove(&request).ok_or_else(unexpected)?.send(Ok(()));
            }
            GuestMessage::NetworkFailed { request, message } => {
                let _ = self.networks.remove(&request).ok_or_else(unexpected)?.send(Err(bounded(message)));
            }
            GuestMessage::Hello | GuestMessage::BootFailed { .. } => {
                return Err("the guest's agent broke the protocol: it greeted twice".to_owned());
            }
        }
        Ok(())
    }

    /// Hands a connection that says what it is for to the task that waits for it, or hangs up.
    pub fn hand_over(&mut self, hello: &StreamHello, connection: UnixStream) {
        let Some(streams) = self.streams.get_mut(&hello.token.0) else { return };
        let Some(at) = streams.wanted.iter().position(|stream| *stream == hello.stream) else { return };
        streams.wanted.swap_remove(at);
        // It may go to another process, which waits in its own way.
        let blocking = connection.into_std().and_then(|connection| {
            connection.set_nonblocking(false)?;
            Ok(connection)
        });
        if let Ok(connection) = blocking {
            let _ = streams.receiver.send((hello.stream, connection));
        }
    }
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
        StartFailure::Setup => CANNOT_RUN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_talks_too_much_is_cut_short() {
        let mut expected = Expected::default();
        let (sender, mut start) = oneshot::channel();
        expected.starts.insert(ProcessId(0), sender);
        let message = "é".repeat(2 << 20);
        let failed =
            GuestMessage::StartFailed { process: ProcessId(0), failure: StartFailure::Setup, message };
        expected.take(failed).unwrap();
        let told = start.try_recv().unwrap().unwrap_err().message;
        assert!(told.starts_with("éé") && told.ends_with("é..."));
        assert!((MAX_WORDS..=MAX_WORDS + 3).contains(&told.len()), "{}", told.len());
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
