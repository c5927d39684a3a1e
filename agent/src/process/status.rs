//! How a process that is being started reports to the agent: by messages over a pair of sockets, which execve(2)
//! closes.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use moat_protocol::StartFailure;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};

use crate::failure::Failure;
use crate::sys;

/// The longest message of a failure, in bytes. The rest is cut.
const LONGEST_MESSAGE: usize = 8 << 10;

const TERMINAL: u8 = b'T';
const NOT_FOUND: u8 = b'4';
const NOT_EXECUTABLE: u8 = b'6';
const SETUP: u8 = b'5';

/// The agent's end.
pub struct StatusReader(OwnedFd);

/// The process's end.
pub struct StatusWriter(OwnedFd);

/// What the process reports.
pub enum Status {
    /// The master of the terminal.
    Terminal(OwnedFd),
    /// The process could not be started.
    Failed(Failure),
    /// The process runs: execve(2) has closed its end.
    Running,
}

/// Makes the two ends.
///
/// # Errors
/// Those of socketpair(2).
pub fn channel() -> nix::Result<(StatusReader, StatusWriter)> {
    let (reader, writer) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((StatusReader(reader), StatusWriter(writer)))
}

impl StatusWriter {
    /// The descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Hands the terminal's master over.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn terminal(&self, master: BorrowedFd<'_>) -> nix::Result<()> {
        self.send(&[TERMINAL], &[ControlMessage::ScmRights(&[master.as_raw_fd()])])
    }

    /// Reports a failure.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn failed(&self, failure: &Failure) -> nix::Result<()> {
        let mut message = vec![match failure.kind {
            StartFailure::NotFound => NOT_FOUND,
            StartFailure::NotExecutable => NOT_EXECUTABLE,
            StartFailure::Setup => SETUP,
        }];
        message.extend(failure.message.bytes().take(LONGEST_MESSAGE));
        self.send(&message, &[])
    }

    fn send(&self, bytes: &[u8], control: &[ControlMessage<'_>]) -> nix::Result<()> {
        let slices = [IoSlice::new(bytes)];
        sendmsg::<()>(self.0.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

impl StatusReader {
    /// The descriptor to wait on.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The next report, if there is one.
    ///
    /// # Errors
    /// Those of recvmsg(2), and EPROTO for bytes that are no report.
    pub fn receive(&self) -> nix::Result<Option<Status>> {
        let mut bytes = [0; LONGEST_MESSAGE + 1];
        let (length, master) = match sys::socket::receive(self.0.as_fd(), &mut bytes) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            other => other?,
        };
        match (bytes[..length].split_first(), master) {
            (None, _) => Ok(Some(Status::Running)),
            (Some((&TERMINAL, _)), Some(master)) => Ok(Some(Status::Terminal(master))),
            (Some((&kind, text)), _) => {
                let kind = match kind {
                    NOT_FOUND => StartFailure::NotFound,
                    NOT_EXECUTABLE => StartFailure::NotExecutable,
                    SETUP => StartFailure::Setup,
                    _ => return Err(Errno::EPROTO),
                };
                let message = String::from_utf8_lossy(text).into_owned();
                Ok(Some(Status::Failed(Failure { kind, message })))
            }
        }
    }
}
