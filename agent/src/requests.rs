//! The host's questions, apart from those about the processes that it started.

use std::os::fd::BorrowedFd;

use moat_protocol::{ArchiveFailure, ArchiveTask, GuestMessage, RequestId, StreamToken};
use nix::unistd::Pid;

use crate::archive::{self, Archivist};
use crate::container::Container;
use crate::dial::Dial;
use crate::failure::Failure;
use crate::place::Place;
use crate::task::Task;
use crate::{kmsg, processes};

/// How many questions are answered at once; each takes a process.
const MOST: usize = 8;

/// The questions that are being answered.
#[derive(Default)]
pub struct Requests(Vec<Task>);

impl Requests {
    /// The descriptors to wait on for [`Self::hear`], each with the number of its question.
    pub fn interests(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.0.iter().enumerate().map(|(at, task)| (at, task.as_fd()))
    }

    /// Begins to work on the file system. `running` is the container while its first process runs.
    ///
    /// # Errors
    /// The answer, when the work cannot begin.
    pub fn archive(
        &mut self,
        request: RequestId,
        token: &StreamToken,
        task: &ArchiveTask,
        (place, dialer): (&Place, &dyn Dial),
        running: Option<&Container>,
    ) -> Result<(), GuestMessage> {
        let failed = |message: &str| GuestMessage::ArchiveFailed {
            request,
            failure: ArchiveFailure::Io,
            message: message.to_owned(),
        };
        if self.0.len() >= MOST {
            return Err(failed("too many requests at once"));
        }
        let freezes = matches!(task, ArchiveTask::Layer { freeze: true });
        let frozen = running.filter(|_| freezes).map(|container| &container.cgroup);
        if let Some(cgroup) = frozen {
            cgroup.freeze(true).map_err(|error| failed(&format!("cannot freeze the container: {error}")))?;
        }
        let first = running.map(Container::pidfd);
        let kept: Vec<_> = first.into_iter().collect();
        let otherwise = failed("the guest's agent lost the process that was at it");
        let started = Task::start(otherwise, &kept, || {
            let archivist = Archivist { place, first, frozen, dialer, token };
            match archivist.run(task) {
                Ok(stat) => GuestMessage::ArchiveDone { request, stat },
                Err(archive::Error { kind, message }) => {
                    GuestMessage::ArchiveFailed { request, failure: kind, message }
                }
            }
        });
        match started {
            Ok(mut task) => {
                task.freezes = frozen.is_some();
                self.0.push(task);
                Ok(())
            }
            Err(error) => {
                self.thaw(running);
                Err(failed(&format!("cannot start a process: {error}")))
            }
        }
    }

    /// Begins to list the container's processes.
    ///
    /// # Errors
    /// The answer, when the work cannot begin.
    pub fn processes(
        &mut self,
        request: RequestId,
        container: Option<&Container>,
    ) -> Result<(), GuestMessage> {
        let none = || GuestMessage::Processes { request, processes: Vec::new() };
        let Some(container) = container.filter(|_| self.0.len() < MOST) else { return Err(none()) };
        let cgroup = &container.cgroup;
        let list = || GuestMessage::Processes { request, processes: processes::list(cgroup) };
        let task = Task::start(none(), &[], list).map_err(|error| {
            kmsg::log(format_args!("cannot start a process: {error}"));
            none()
        })?;
        self.0.push(task);
        Ok(())
    }

    /// Begins to change the network.
    ///
    /// # Errors
    /// The answer, when the work cannot begin.
    pub fn network(
        &mut self,
        request: RequestId,
        change: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), GuestMessage> {
        let failed = |message: &str| GuestMessage::NetworkFailed { request, message: message.to_owned() };
        if self.0.len() >= MOST {
            return Err(failed("too many requests at once"));
        }
        let otherwise = failed("the guest's agent lost the process that was at it");
        let task = Task::start(otherwise, &[], || match change() {
            Ok(()) => GuestMessage::NetworkChanged { request },
            Err(failure) => failed(&failure.message),
        });
        self.0.push(task.map_err(|error| failed(&format!("cannot start a process: {error}")))?);
        Ok(())
    }

    /// Reads from the child with this number, and returns the frame of its answer once it is complete. When the last
    /// child that needs the container frozen has ended, with or without an answer, the container is thawed.
    pub fn hear(&mut self, at: usize, container: Option<&Container>) -> Option<Vec<u8>> {
        let answer = self.0.get_mut(at)?.take()?;
        let task = &mut self.0[at];
        task.over = true;
        if task.freezes {
            task.freezes = false;
            self.thaw(container);
        }
        Some(answer)
    }

    fn thaw(&self, container: Option<&Container>) {
        if let Some(container) = container.filter(|_| self.0.iter().all(|task| !task.freezes))
            && let Err(error) = container.cgroup.freeze(false)
        {
            kmsg::log(format_args!("cannot thaw the container: {error}"));
        }
    }

    /// Drops the questions that have been answered. The numbers of the others change.
    pub fn sweep(&mut self) {
        self.0.retain(|task| !task.over);
    }

    /// Takes note that the child `pid` has been reaped.
    pub fn reaped(&mut self, pid: Pid) {
        self.0.iter_mut().filter(|task| task.pid == Some(pid)).for_each(|task| task.pid = None);
    }

    /// Ends every child.
    pub fn kill(&mut self) {
        self.0.drain(..).for_each(|task| task.kill());
    }
}
