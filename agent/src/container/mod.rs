//! The container: its control group, its first process, and those that join it.

mod capabilities;
mod cgroup;
mod command;
mod devices;
mod exec;
mod files;
mod init;
mod join;
mod limits;
mod mounts;
mod options;
mod root;
mod supervisor;
mod sysctls;
mod terminal;
mod user;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use moat_protocol::guest::{ContainerSpec, ExecSpec};
use moat_protocol::{ProcessId, StreamToken};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;

pub use cgroup::Cgroup;
pub use files::{HOSTS, hosts_lines, renew_resolv_conf};
pub use root::{MOUNT_POINT, Root, file_type, open_within};

use crate::dial::Dial;
use crate::failure::{Context, Failure};
use crate::kmsg;
use crate::place::Place;
use crate::process::{self, Process};
use crate::sys::namespace::{Child, Fork};

/// The container.
pub struct Container {
    /// The host's name for its first process. The container ends with it.
    pub first: ProcessId,
    /// Its control group.
    pub cgroup: Cgroup,
    pid: Pid,
    pidfd: OwnedFd,
}

impl Container {
    /// Starts the first process, PID 1 of the container.
    ///
    /// # Errors
    /// When the process cannot be made. What goes wrong in the process itself it reports later.
    pub fn start(
        id: ProcessId,
        token: &StreamToken,
        spec: &ContainerSpec,
        dialer: &dyn Dial,
        place: &Place,
    ) -> Result<(Self, Process), Failure> {
        let cgroup = Cgroup::create(&place.cgroup, spec.pids_limit)?;
        let wanted =
            process::Wanted { stdin: spec.open_stdin, output: true, terminal: spec.process.terminal };
        let mut child = None;
        let process = Process::start(id, token, wanted, dialer, |stdio, status| {
            let fork = Fork { new_namespaces: true, cgroup: Some(cgroup.as_fd()) };
            match fork.fork().context("cannot start a process in new namespaces")? {
                None => init::run(spec, place, stdio, status),
                Some(born) => Ok(child.insert(born).pid),
            }
        });
        match (process, child) {
            (Ok(process), Some(Child { pid, pidfd })) => {
                Ok((Self { first: id, cgroup, pid, pidfd }, process))
            }
            (Err(failure), _) => {
                cgroup.remove();
                Err(failure)
            }
            (Ok(_), None) => Err(Failure::setup("the process was not born")),
        }
    }

    /// Starts one more process. The container's first process must be running.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn exec(
        &self,
        id: ProcessId,
        token: &StreamToken,
        spec: &ExecSpec,
        dialer: &dyn Dial,
    ) -> Result<Process, Failure> {
        let terminal = spec.process.terminal;
        let wanted = process::Wanted { stdin: spec.open_stdin, output: spec.open_output, terminal };
        Process::start(id, token, wanted, dialer, |stdio, status| {
            match self.fork_inside().context("cannot start a process in the container")? {
                None => join::run(spec, self.pidfd(), stdio, status),
                Some(child) => Ok(child.pid),
            }
        })
    }

    /// The first process, as a descriptor; its namespaces are the container's.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Forks into the container's PID namespace and control group.
    fn fork_inside(&self) -> nix::Result<Option<Child>> {
        let own = File::open("/proc/self/ns/pid").map_err(|_| Errno::ENOENT)?;
        // This is the namespace of the agent's next child; the agent itself stays in its own.
        setns(self.pidfd(), CloneFlags::CLONE_NEWPID)?;
        let child = match self.fork_into(self.cgroup.as_fd()) {
            // A container with the privilege may have divided its control group, and a divided one takes no process.
            Err(Errno::EBUSY) => self.cgroup.of(self.pid).and_then(|group| self.fork_into(group.as_fd())),
            other => other,
        };
        if !matches!(child, Ok(None))
            && let Err(error) = setns(&own, CloneFlags::CLONE_NEWPID)
        {
            kmsg::log(format_args!("cannot leave the container's PID namespace: {error}"));
        }
        child
    }

    fn fork_into(&self, cgroup: BorrowedFd<'_>) -> nix::Result<Option<Child>> {
        Fork { new_namespaces: false, cgroup: Some(cgroup) }.fork()
    }
}
