//! Creating a container.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt;

use moat_containers::config::{LogLimits, Rates, Security, Tmpfs, Ulimit};
use moat_containers::health::HealthOptions;
use moat_containers::restart::RestartPolicy;
use moat_containers::state::{State, Status};
use moat_containers::{Container, Directory, Held, events, names, users};
use moat_images::store::{Image, StoreError};
use moat_network::port::ContainerPort;
use moat_network::request::NetworkRequest;
use moat_records::failpoint;
use moat_records::id::ContainerId;
use moat_records::record::{self, Lock};

use crate::configure::configure;
use crate::{Engine, EngineError};

/// What guests are, as the OCI writes it.
const PLATFORM: &str = "linux/amd64";

/// What a user may say about a new container; what is left out comes from the image.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The image as the user typed it.
    pub image: String,
    /// The command's words; replace the image's CMD.
    pub command: Vec<String>,
    /// Replaces the image's ENTRYPOINT; empty to have none.
    pub entrypoint: Option<String>,
    /// The container's name; a random one when absent.
    pub name: Option<String>,
    /// `NAME=VALUE`, or `NAME` to take a variable of the image away.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// `[user][:group]`.
    pub user: Option<String>,
    /// The host name; the short id when absent.
    pub hostname: Option<String>,
    /// The domain that its host name is in.
    pub domainname: String,
    /// Groups of its processes beside their user's.
    pub groups: Vec<String>,
    /// Words about it for who runs it.
    pub annotations: BTreeMap<String, String>,
    /// Whether it has no /dev/shm.
    pub no_shm: bool,
    /// Whether its output is kept nowhere.
    pub no_log: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether its stdin is connected.
    pub open_stdin: bool,
    /// The guest's memory in MiB.
    pub memory_mib: Option<u32>,
    /// Processor time in thousandths of one processor.
    pub milli_cpus: Option<NonZeroU32>,
    /// How fast its disks and network may be.
    pub rates: Rates,
    /// Whether it sees its root file system read-only.
    pub read_only: bool,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// Whether its stdin ends with the first client that is connected to it.
    pub stdin_once: bool,
    /// Free words about it.
    pub labels: BTreeMap<String, String>,
    /// When it starts again by itself.
    pub restart: RestartPolicy,
    /// What tells whether it is well.
    pub health: HealthOptions,
    /// How its log is bounded.
    pub log: Option<LogLimits>,
    /// What its processes may do.
    pub security: Security,
    /// Kernel parameters by their dotted names.
    pub sysctls: BTreeMap<String, String>,
    /// What it asks of networks.
    pub network: NetworkRequest,
    /// Ports that it serves, beside the image's.
    pub expose: Vec<ContainerPort>,
    /// The size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// How many processes it may have.
    pub pids_limit: Option<NonZeroU32>,
    /// Whether PID 1 is an init.
    pub init: bool,
    /// The signal that asks it to end.
    pub stop_signal: Option<i32>,
    /// How long it may take to end, in seconds; negative for as long as it likes.
    pub stop_timeout: Option<i64>,
}

impl Engine {
    /// Creates a container from `image`, which [`Engine::ensure`] gives; it waits to be started.
    ///
    /// # Errors
    /// When the image is not there, the name is taken, or the host has no room; nothing is left behind.
    pub fn create(&self, image: &Image, options: CreateOptions) -> Result<Container, EngineError> {
        Ok(self.create_with(image, options, Status::Created)?.container)
    }

    /// Creates a container that is to be started at once: it counts as running from the beginning, so that a start
    /// that is interrupted is seen as a crash and repaired.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub(crate) fn create_running(&self, image: &Image, options: CreateOptions) -> Result<Held, EngineError> {
        self.create_with(image, options, Status::Running)
    }

    fn create_with(
        &self,
        image: &Image,
        options: CreateOptions,
        status: Status,
    ) -> Result<Held, EngineError> {
        // From here on no image is removed: this one is used, or it is gone already.
        let all = self.containers().lock_all()?;
        if !self.store().has(&image.id)? {
            return Err(StoreError::NoSuchImage(options.image).into());
        }
        if image.platform() != PLATFORM {
            return Err(EngineError::Platform { image: options.image, platform: image.platform() });
        }
        let (id, lock) = self.reserve()?;
        let directory = Directory::of(self.root(), &id);
        failpoint::hit("create.reserved");
        let mut named = None;
        let created = (|| {
            let config = configure(id.clone(), image, options)?;
            self.networks().check(&config.network)?;
            names::take(self.root(), &config.name, &id)?;
            named = Some(config.name.clone());
            users::add(self.root(), &config.image_id, &id)?;
            failpoint::hit("create.user-noted");
            drop(all);
            failpoint::hit("create.named");
            moat_rootfs::writable::create_from_template(&self.template()?, &directory.writable())?;
            failpoint::hit("create.disk-made");
            let state = State { status, ..State::created() };
            record::write(&directory.state(), &state)?;
            failpoint::hit("create.state-written");
            record::write(&directory.config(), &config)?;
            failpoint::hit("create.config-written");
            Ok(Container { directory: directory.clone(), config, state })
        })();
        match created {
            Ok(container) => {
                events::emit(self.root(), &container, "create", &[]);
                Ok(Held { container, lock, before: None })
            }
            Err(e) => {
                if let Some(name) = named {
                    names::release(self.root(), &name, &id);
                }
                // What cannot be removed now is swept by the next command, and by the next that removes the image.
                let _ = users::remove(self.root(), &image.id.to_string(), &id);
                let _ = directory.remove();
                Err(e)
            }
        }
    }

    /// Makes the directory of a new container and locks it. The caller holds the set of containers.
    fn reserve(&self) -> Result<(ContainerId, Lock), EngineError> {
        let taken = self.containers().ids()?;
        let id = loop {
            let id = ContainerId::random()
                .map_err(|e| EngineError::Host { action: "choose a container id", source: e.into() })?;
            if !taken.iter().any(|other| other.shares_uid_with(&id)) {
                break id;
            }
        };
        let directory = Directory::of(self.root(), &id);
        DirBuilder::new()
            .mode(0o700)
            .create(directory.path())
            .map_err(EngineError::host("create the container's directory"))?;
        let lock = Lock::wait(&directory.lock())?;
        Ok((id, lock))
    }

    /// The template of writable disks, made on first use.
    fn template(&self) -> Result<std::path::PathBuf, EngineError> {
        let path = self.root().template();
        if !path.exists() {
            let _lock = Lock::wait(&path.with_extension("lock"))?;
            if !path.exists() {
                moat_rootfs::writable::make_template(&path, moat_rootfs::writable::DEFAULT_SIZE)?;
            }
        }
        Ok(path)
    }
}
