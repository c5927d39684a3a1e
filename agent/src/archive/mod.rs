//! The container's file system as archives. A child of the agent does what the host asks for, so that the agent need
//! not wait. The child enters the container's root, so that no path leads out of it.

mod changes;
mod error;
mod extract;
mod layer;
mod limits;
mod node;
mod read;
mod stat;

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use moat_protocol::{ArchiveTask, PathStat, Stream, StreamToken};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::stat::Mode;

pub use error::Error;

use crate::container::{Cgroup, Root};
use crate::dial::Dial;
use crate::place::Place;
use crate::process;
use error::At;
use limits::CHUNK;

/// How long the container's processes may take to stand still. A process that hangs in the kernel never does.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// What a task works with. It belongs to a child that does nothing else: its root directory is changed.
pub struct Archivist<'a> {
    /// Where the container is put together.
    pub place: &'a Place,
    /// The container's first process, while it runs.
    pub first: Option<BorrowedFd<'a>>,
    /// The control group that has been frozen for the task.
    pub frozen: Option<&'a Cgroup>,
    /// The way to the host.
    pub dialer: &'a dyn Dial,
    /// What the stream must present.
    pub token: &'a StreamToken,
}

impl Archivist<'_> {
    /// Carries a task out.
    ///
    /// # Errors
    /// When the task fails. A stream that has begun by then ends early.
    pub fn run(&self, task: &ArchiveTask) -> Result<Option<PathStat>, Error> {
        match task {
            ArchiveTask::Stat { path, follow } => {
                stat::look_up(&self.enter()?, path, *follow).map(|found| Some(found.told))
            }
            ArchiveTask::Read { path, follow } => {
                let mut stream = self.dial()?;
                // The root is sent as an image would have it: the container's own files, without what is mounted
                // on them.
                let root = if stat::is_root(path) { self.enter_layers()? } else { self.enter()? };
                let found =
                    read::read(&root, path, *follow, &mut BufWriter::with_capacity(CHUNK, &mut stream))?;
                finish(&stream)?;
                Ok(Some(found))
            }
            ArchiveTask::Write { path, keep_owner, keep_kind } => {
                let stream = self.dial()?;
                let rules = extract::Rules { keep_owner: *keep_owner, keep_kind: *keep_kind };
                extract::extract(&self.enter()?, path, rules, BufReader::with_capacity(CHUNK, stream))
                    .map(|()| None)
            }
            ArchiveTask::Changes => {
                let mut stream = self.dial()?;
                changes::list(self.layers()?, &mut BufWriter::with_capacity(CHUNK, &mut stream))?;
                finish(&stream).map(|()| None)
            }
            ArchiveTask::Layer { .. } => {
                let mut stream = self.dial()?;
                self.wait_until_frozen()?;
                layer::send(self.layers()?, &mut BufWriter::with_capacity(CHUNK, &mut stream))?;
                finish(&stream).map(|()| None)
            }
        }
    }

    fn dial(&self) -> Result<File, Error> {
        process::connect(self.dialer, Stream::Archive, self.token)
            .map(File::from)
            .map_err(|failure| Error::io(failure.message))
    }

    /// Enters the container as its first process sees it. Without such a process it enters the layers.
    fn enter(&self) -> Result<Root, Error> {
        let Some(first) = self.first else { return self.enter_layers() };
        // This changes to the root directory of the mount namespace too.
        match setns(first, CloneFlags::CLONE_NEWNS) {
            Err(Errno::ESRCH) => return self.enter_layers(),
            other => other.at("cannot enter the container")?,
        }
        Root::open(Path::new("/")).at("cannot enter the container's root file system")
    }

    fn enter_layers(&self) -> Result<Root, Error> {
        let what = "cannot enter the container's root file system";
        nix::unistd::chroot(&self.place.root).at(what)?;
        nix::unistd::chdir("/").at(what)?;
        Root::open(Path::new("/")).at(what)
    }

    /// The image, and what has changed.
    fn layers(&self) -> Result<changes::Layers, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = |path: &Path| -> Result<OwnedFd, Error> {
            open(path, flags, Mode::empty()).at("cannot open the container's layers")
        };
        Ok(changes::Layers { image: open(&self.place.image)?, upper: open(&self.place.upper)? })
    }

    fn wait_until_frozen(&self) -> Result<(), Error> {
        let Some(cgroup) = self.frozen else { return Ok(()) };
        let deadline = Instant::now() + FREEZE_LIMIT;
        while !cgroup.is_frozen() {
            if Instant::now() > deadline {
                return Err(Error::io("the container's processes do not stand still"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Tells the host that the stream is complete.
fn finish(stream: &File) -> Result<(), Error> {
    shutdown(stream.as_raw_fd(), Shutdown::Write).at("cannot end the stream")
}
