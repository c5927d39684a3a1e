//! The container's control group.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::failure::{Context, Failure};

/// The container's control group.
pub struct Cgroup {
    path: PathBuf,
    directory: File,
}

impl Cgroup {
    /// Creates the group, and limits the number of its processes if there is a limit.
    ///
    /// # Errors
    /// When the group cannot be created or limited.
    pub fn create(path: &Path, processes: Option<u32>) -> Result<Self, Failure> {
        let what = "cannot create the container's control group";
        fs::create_dir(path).context(what)?;
        let created = Self { path: path.to_owned(), directory: File::open(path).context(what)? };
        if processes.is_some()
            && let Err(failure) =
                created.limit_processes(processes).context("cannot limit the number of processes")
        {
            created.remove();
            return Err(failure);
        }
        Ok(created)
    }

    /// The path of its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory, open.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The control group that a process of the container is in: this one or one below it.
    ///
    /// # Errors
    /// When the process is elsewhere, or gone.
    pub fn of(&self, pid: Pid) -> nix::Result<File> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| Errno::ESRCH)?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or(Errno::ENOENT)?;
        // The path is that of the whole hierarchy, and this group is one level below its root.
        let name = self.path.file_name().ok_or(Errno::ENOENT)?;
        let below = Path::new(group).strip_prefix(Path::new("/").join(name)).map_err(|_| Errno::ENOENT)?;
        File::open(self.path.join(below)).map_err(|_| Errno::ENOENT)
    }

    /// Limits the number of processes, or takes the limit away.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn limit_processes(&self, limit: Option<u32>) -> io::Result<()> {
        let limit = limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
        fs::write(self.path.join("pids.max"), limit)
    }

    /// Makes every process in it stand still, or lets them go on. The last one does so a moment later.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn freeze(&self, freeze: bool) -> io::Result<()> {
        fs::write(self.path.join("cgroup.freeze"), if freeze { "1" } else { "0" })
    }

    /// Whether every process in it stands still.
    pub fn is_frozen(&self) -> bool {
        let events = fs::read_to_string(self.path.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
    }

    /// Whether the kernel killed a process in it, or below it, because memory ran out.
    pub fn oom_killed(&self) -> bool {
        // Without the memory controller there is no such file, and nothing to report.
        fs::read_to_string(self.path.join("memory.events")).is_ok_and(|events| counts_oom_kills(&events))
    }

    /// Kills every process in it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Removes it once it is empty. A failure does not matter, because the guest is about to end.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
    }
}

fn counts_oom_kills(events: &str) -> bool {
    events.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::counts_oom_kills;

    #[test]
    fn oom_kills_are_told_from_other_events() {
        assert!(counts_oom_kills("low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n"));
        assert!(!counts_oom_kills("low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\noom_group_kill 1\n"));
        assert!(!counts_oom_kills(""));
    }
}
