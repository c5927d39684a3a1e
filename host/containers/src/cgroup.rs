//! One cgroup (v2) per VM: limits, and the certain way to end everything in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use moat_records::kind::ErrorKind;
use thiserror::Error;

use super::config::Resources;
use moat_records::id::ContainerId;

/// Where cgroup v2 is mounted on every host that has only that version.
const MOUNT: &str = "/sys/fs/cgroup";

/// The parent of all of Moat's cgroups.
const PARENT: &str = "moat";

/// What the VMM itself may use beyond the guest's memory, in bytes: its own pages, page tables, and the page cache of
/// the disks that it reads, which the kernel reclaims first.
const MEMORY_OVERHEAD: u64 = 64 << 20;

/// Threads beyond one per virtual processor: the main thread and one per device, with room to spare.
const EXTRA_THREADS: u32 = 32;

/// The period of the processor limit in microseconds, the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// How long the kernel may take to end killed processes.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// What can go wrong with a cgroup.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// There is no cgroup v2 here.
    #[error(
        "{MOUNT} is not a cgroup v2 hierarchy; boot the host with systemd.unified_cgroup_hierarchy=1 or mount one there"
    )]
    NotMounted,
    /// A limit was asked for and its controller is not there.
    #[error("cannot limit {what}: the cgroup controller {controller} is not available in {MOUNT}/{PARENT}")]
    NoController {
        /// What was to be limited.
        what: &'static str,
        /// The controller that does it.
        controller: &'static str,
    },
    /// A file of the hierarchy refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Killed processes did not go away.
    #[error("processes in {} did not end within {} s of being killed", .0.display(), KILL_LIMIT.as_secs())]
    Stuck(PathBuf),
}

impl CgroupError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotMounted | Self::NoController { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } => source.into(),
            Self::Stuck(_) => ErrorKind::Host,
        }
    }
}

/// The cgroup of one container's VM.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// The cgroup of container `id`, whether it exists or not.
    pub fn of(id: &ContainerId) -> Self {
        Self(Path::new(MOUNT).join(PARENT).join(id.as_str()))
    }

    /// Creates it, empty and limited to `resources`.
    ///
    /// # Errors
    /// When there is no usable cgroup v2, or a limit cannot be set.
    pub fn create(&self, resources: &Resources) -> Result<File, CgroupError> {
        let parent = Path::new(MOUNT).join(PARENT);
        if !parent.exists() {
            Self::create_parent(&parent)?;
        }
        create_directory(&self.0)?;
        self.limit(resources, resources.vcpus())?;
        File::open(&self.0).map_err(|source| CgroupError::Io { path: self.0.clone(), source })
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Changes the limits of one that exists, whose VM has `vcpus` virtual processors.
    ///
    /// # Errors
    /// When a limit cannot be set.
    pub fn update(&self, resources: &Resources, vcpus: u8) -> Result<(), CgroupError> {
        self.limit(resources, vcpus)
    }

    /// The processes in it.
    pub fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// How much time processors have spent on it; zero when the kernel does not tell.
    pub fn processor_time(&self) -> Duration {
        let text = fs::read_to_string(self.0.join("cpu.stat")).unwrap_or_default();
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
        Duration::from_micros(usage.unwrap_or(0))
    }

    fn create_parent(parent: &Path) -> Result<(), CgroupError> {
        if !Path::new(MOUNT).join("cgroup.controllers").exists() {
            return Err(CgroupError::NotMounted);
        }
        create_directory(parent)?;
        // What the kernel lacks is missed only by those who ask for the limit.
        for controller in ["+cpu", "+memory", "+pids", "+io"] {
            for directory in [Path::new(MOUNT), parent] {
                let _ = fs::write(directory.join("cgroup.subtree_control"), controller);
            }
        }
        Ok(())
    }

    fn limit(&self, resources: &Resources, vcpus: u8) -> Result<(), CgroupError> {
        let memory = (u64::from(resources.memory_mib) << 20) + MEMORY_OVERHEAD;
        self.set_if_present("memory.max", &memory.to_string())?;
        // As much again and no more, as with Docker: what is swapped does not count for the line above.
        self.set_if_present("memory.swap.max", &memory.to_string())?;
        self.set_if_present("pids.max", &(u32::from(vcpus) + EXTRA_THREADS).to_string())?;
        if let Some(limit) = resources.milli_cpus {
            let quota = u64::from(limit.get()) * CPU_PERIOD / 1000;
            if !self.set_if_present("cpu.max", &format!("{quota} {CPU_PERIOD}"))? {
                return Err(CgroupError::NoController { what: "processor time", controller: "cpu" });
            }
        }
        Ok(())
    }

    /// Sets a control file and tells whether it exists.
    fn set_if_present(&self, file: &str, value: &str) -> Result<bool, CgroupError> {
        let path = self.0.join(file);
        match fs::write(&path, value) {
            Ok(()) => Ok(true),
            // A control file cannot be created: the kernel answers either, by version.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                Ok(false)
            }
            Err(source) => Err(CgroupError::Io { path, source }),
        }
    }

    /// Ends every process in it and removes it. It need not exist.
    ///
    /// # Errors
    /// When processes do not go away.
    pub fn destroy(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + KILL_LIMIT;
        // The cgroup itself may be gone; that is what is wanted.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        loop {
            match fs::remove_dir(&self.0) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    // Killed processes are still on their way out; the kernel offers only a poll for their last.
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                    return Err(CgroupError::Stuck(self.0.clone()));
                }
                Err(source) => return Err(CgroupError::Io { path: self.0.clone(), source }),
            }
        }
    }
}

fn create_directory(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|source| CgroupError::Io { path: path.to_owned(), source }),
    }
}
