//! The container's control group.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::Failure;
use super::failure::Context;

/// The container's control group.
pub struct Cgroup {
    path: PathBuf,
    directory: File,
}

impl Cgroup {
    /// Creates it.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let what = "cannot create the container's control group";
        fs::create_dir(path).context(what)?;
        Ok(Self { path: path.to_owned(), directory: File::open(path).context(what)? })
    }

    /// Its directory.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether the kernel killed something in it, or below it, for want of memory.
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

    /// Removes it once it is empty. The guest is about to end, so it does not matter when that fails.
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
