//! Starts `moat-vmm` in its own PID namespace and cgroup, with exactly the descriptors it needs.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (kernel, cgroup, config_for): (std::fs::File, std::fs::File, fn(_) -> moat_vmm::config::VmConfig) = todo!();
//! let mut launch = moat_vmm::launch::Launch::new();
//! let kernel = launch.add(kernel.into());
//! launch.cgroup(cgroup.into());
//! let vmm = launch.start("/usr/libexec/moat-vmm".as_ref(), &config_for(kernel))?;
//! let exit = vmm.wait()?;
//! # Ok(()) }
//! ```
//! The child gets the configuration as a sealed memory file, no environment, `/dev/null` as its input and output, and
//! default signal handling. Nothing is on its command line but the number of a descriptor.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::pipe2;

use crate::config::{Fd, VmConfig};
use crate::jail::seccomp::LOG_VARIABLE;

mod child;

/// The configuration's descriptor in the child; those of [`Launch::add`] follow.
pub const CONFIG_FD: Fd = Fd(3);

/// Why there is no VMM.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program cannot be opened.
    #[error("cannot open the VMM {}: {source}", path.display())]
    Binary {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The configuration cannot be passed on.
    #[error("cannot pass the VM's configuration on: {0}")]
    Config(io::Error),
    /// A descriptor, pipe or file for the child cannot be had.
    #[error("cannot prepare the VMM's descriptors: {0}")]
    Descriptors(io::Error),
    /// There is no new process.
    #[error("cannot make a process for the VMM: {source}{}", hint(source))]
    Process {
        /// What the kernel said.
        source: io::Error,
    },
    /// The process could not be made into the VMM.
    #[error("cannot start the VMM {}: {step}: {source}", path.display())]
    Start {
        /// Which program.
        path: PathBuf,
        /// What the child was doing.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM) => "; a PID namespace takes root, or a user namespace of one's own",
        Some(libc::EBUSY) => "; the cgroup must not have controllers enabled for children of its own",
        Some(libc::EOPNOTSUPP) => "; the cgroup is threaded",
        _ => "",
    }
}

/// What the child will get.
#[derive(Debug, Default)]
pub struct Launch {
    files: Vec<OwnedFd>,
    stderr: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
}

impl Launch {
    /// A child with the configuration alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `file` to the child. Returns its number there, for the configuration.
    pub fn add(&mut self, file: OwnedFd) -> Fd {
        self.files.push(file);
        // No process has two thousand million descriptors.
        Fd(CONFIG_FD.0 + self.files.len() as i32)
    }

    /// Sets the child's standard error. Without this it is that of this process.
    pub fn stderr(&mut self, file: OwnedFd) {
        self.stderr = Some(file);
    }

    /// The cgroup (version 2) in which the child is born: an open directory.
    pub fn cgroup(&mut self, directory: OwnedFd) {
        self.cgroup = Some(directory);
    }

    /// Starts `binary`, a statically linked program, with `config`. Returns when it runs.
    ///
    /// # Errors
    /// When it does not run. No process is left then.
    pub fn start(self, binary: &Path, config: &VmConfig) -> Result<Child, LaunchError> {
        let opened = open(binary, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| LaunchError::Binary { path: binary.to_owned(), source: error.into() })?;
        let config = sealed(config).map_err(LaunchError::Config)?;
        let prepared = self.prepare(opened, config).map_err(LaunchError::Descriptors)?;
        let Prepared { plan, cgroup, mut failure, report, owned } = prepared;
        let (pid, pidfd) = with_signals_blocked(|| child::spawn(&plan, cgroup.as_ref().map(AsFd::as_fd)))
            .map_err(|source| LaunchError::Process { source })?;
        let child = Child { pid, pidfd };
        // Only the child may have this end of the pipe: its exec is to close the last one.
        drop((owned, report));
        let mut outcome = [0; child::FAILURE_SIZE];
        match failure.read_exact(&mut outcome) {
            // The child has become the program, or was killed before that: `wait` tells which.
            Err(_) => Ok(child),
            Ok(()) => {
                let _ = child.wait();
                let (step, source) = child::decode_failure(outcome);
                Err(LaunchError::Start { path: binary.to_owned(), step, source })
            }
        }
    }

    /// Copies every descriptor to a number above those that the child will use, so that no copy overwrites another.
    fn prepare(self, binary: OwnedFd, config: OwnedFd) -> io::Result<Prepared> {
        let Self { files, stderr, cgroup } = self;
        let end = CONFIG_FD.0 + 1 + files.len() as RawFd;
        let mut owned = Vec::new();
        let mut above = |file: BorrowedFd<'_>| -> io::Result<RawFd> {
            let copy = fcntl(file, FcntlArg::F_DUPFD_CLOEXEC(end))?;
            // SAFETY: the line before made the descriptor, and nothing else owns it.
            owned.push(unsafe { OwnedFd::from_raw_fd(copy) });
            Ok(copy)
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let (failure, report) = pipe2(OFlag::O_CLOEXEC)?;
        let null = above(null.as_fd())?;
        let mut moves = vec![(null, libc::STDIN_FILENO), (null, libc::STDOUT_FILENO)];
        if let Some(stderr) = &stderr {
            moves.push((above(stderr.as_fd())?, libc::STDERR_FILENO));
        }
        for (file, number) in std::iter::once(&config).chain(&files).zip(CONFIG_FD.0..) {
            moves.push((above(file.as_fd())?, number));
        }
        let plan = child::Plan {
            moves,
            end,
            binary: above(binary.as_fd())?,
            failure: above(report.as_fd())?,
            log: cfg!(debug_assertions) && std::env::var_os(LOG_VARIABLE).is_some(),
        };
        Ok(Prepared { plan, cgroup, failure: failure.into(), report, owned })
    }
}

/// What the child needs, opened and numbered.
struct Prepared {
    plan: child::Plan,
    cgroup: Option<OwnedFd>,
    /// This process's end of the pipe on which the child says what failed.
    failure: File,
    /// Its other end.
    report: OwnedFd,
    /// What the plan's numbers stand for.
    owned: Vec<OwnedFd>,
}

/// A file in memory that no process can change any more.
fn sealed(config: &VmConfig) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"moat-vm-config", flags)?);
    file.write_all(&serde_json::to_vec(config)?)?;
    file.rewind()?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Runs `body` with all signals blocked: the child has this process's handlers until it resets them, and none may run there.
fn with_signals_blocked<T>(body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let result = body();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    result
}

/// A running VMM. Dropping this does not end it.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

/// How a VMM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With a status.
    Status(i32),
    /// By a signal: SIGSYS is a system call that seccomp did not allow.
    Signal(i32),
}

impl Child {
    /// Its process id here, for messages: the process may be gone by the time it is used.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for its end, and blocks until then. A caller with other work waits for the descriptor of [`AsFd`] first.
    ///
    /// # Errors
    /// When it was waited for before.
    pub fn wait(&self) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.wait_with(WaitPidFlag::WEXITED)? {
                return Ok(exit);
            }
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        self.wait_with(WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)
    }

    fn wait_with(&self, flags: WaitPidFlag) -> io::Result<Option<Exit>> {
        match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            Ok(WaitStatus::Exited(_, status)) => Ok(Some(Exit::Status(status))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(Exit::Signal(signal as i32))),
            Ok(_) | Err(Errno::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills it, and with it everything in its PID namespace. Not an error when it has ended already.
    ///
    /// # Errors
    /// When this process may not.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Stops all of its threads, virtual CPUs included, or lets them go on. The kernel stops them one after the other:
    /// see [`Child::is_stopped`]. Not an error when it has ended already.
    ///
    /// # Errors
    /// When this process may not.
    pub fn stop(&self, stopped: bool) -> io::Result<()> {
        self.signal(if stopped { libc::SIGSTOP } else { libc::SIGCONT })
    }

    /// Whether all of its threads stand still.
    ///
    /// # Errors
    /// When it has ended and was waited for.
    pub fn is_stopped(&self) -> io::Result<bool> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::PIDFd(self.pidfd.as_fd()), flags)?;
        Ok(matches!(status, WaitStatus::Stopped(..)))
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        match child::signal(self.pidfd.as_raw_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }
}

/// The pidfd: readable when the process has ended, for a poll loop.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
