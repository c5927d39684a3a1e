//! Questions of the host that a child of the agent answers, because the answer takes time or is in files of the
//! container, which can make a reader wait for ever.
//!
//! The child writes its answer as the frame that goes to the host and ends. The agent passes it on as a whole.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use moat_protocol::GuestMessage;
use moat_protocol::frame::{self, HEADER_SIZE, MAX_PAYLOAD};
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, pipe2};

use crate::streams::set_nonblocking;
use crate::sys::namespace::Fork;
use crate::{kmsg, sys};

/// How many files a child may have open: two for each level of directories that it looks into, and more.
const OPEN_FILES: u64 = 16 << 10;

/// A question that is being answered.
pub struct Task {
    /// The child that answers, until it has been reaped.
    pub pid: Option<Pid>,
    /// Whether it needs the container frozen.
    pub freezes: bool,
    /// Whether it has been answered.
    pub over: bool,
    answer: File,
    received: Vec<u8>,
    /// What the host is told when there is no answer.
    otherwise: GuestMessage,
}

impl Task {
    /// Forks a child that does `work`, with `kept` of the agent's descriptors.
    ///
    /// # Errors
    /// Those of pipe2(2) and clone3(2).
    pub fn start(
        otherwise: GuestMessage,
        kept: &[BorrowedFd<'_>],
        work: impl FnOnce() -> GuestMessage,
    ) -> nix::Result<Self> {
        let (answer, writer) = pipe2(OFlag::O_CLOEXEC)?;
        set_nonblocking(&answer)?;
        let Some(child) = Fork::default().fork()? else {
            let answered = detach(kept, writer.as_fd()).is_ok() && tell(&mut File::from(writer), &work());
            sys::process::exit_now(i32::from(!answered));
        };
        let (pid, answer) = (Some(child.pid), File::from(answer));
        Ok(Self { pid, freezes: false, over: false, answer, received: Vec::new(), otherwise })
    }

    /// The descriptor to wait on.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// Reads what has arrived of the answer, and returns its frame once it is complete.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let most = (HEADER_SIZE + MAX_PAYLOAD + 1 - self.received.len()) as u64;
        match (&self.answer).take(most).read_to_end(&mut self.received) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
            _ => {}
        }
        let whole = self.received.first_chunk().is_some_and(|header| {
            frame::payload_length::<GuestMessage>(*header)
                .is_ok_and(|length| HEADER_SIZE + length == self.received.len())
        });
        if whole {
            return Some(std::mem::take(&mut self.received));
        }
        kmsg::log("a child of the agent ended without an answer");
        // It holds no text of the container, so it always fits in a frame.
        Some(frame::encode(&self.otherwise).unwrap_or_default())
    }

    /// Ends the child. Its answer is no longer wanted.
    pub fn kill(&self) {
        if let Some(pid) = self.pid {
            // It may have ended by itself.
            let _ = sys::process::kill(pid, nix::libc::SIGKILL);
        }
    }
}

/// Makes a fork of the agent independent of it. A write to a broken pipe stays an error.
fn detach(kept: &[BorrowedFd<'_>], answer: BorrowedFd<'_>) -> nix::Result<()> {
    let kept: Vec<_> = kept.iter().copied().chain([answer]).chain(kmsg::as_fd()).collect();
    sys::process::keep_only(&kept)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    umask(Mode::empty());
    sys::process::set_limit(nix::libc::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES)
}

fn tell(answer: &mut File, message: &GuestMessage) -> bool {
    frame::encode(message).is_ok_and(|frame| answer.write_all(&frame).is_ok())
}
