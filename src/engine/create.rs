//! Creating a container.

use std::fs::DirBuilder;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt;

use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;

use super::config::{ContainerConfig, DEFAULT_MEMORY_MIB, ProcessConfig, Resources, Tmpfs};
use super::container::{Container, Directory};
use super::id::{ContainerId, random_name};
use super::start::Created;
use super::state::{State, Status};
use super::{Engine, EngineError, names};
use crate::record::{self, Lock};
use crate::store::Image;

/// The search path of a container whose image names none, Docker's.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What guests are, as the OCI writes it.
const PLATFORM: &str = "linux/amd64";

/// What a user may say about a new container; what is left out comes from the image.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The image's name or id.
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
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether its stdin is connected.
    pub open_stdin: bool,
    /// The guest's memory in MiB.
    pub memory_mib: Option<u32>,
    /// Processor time in thousandths of one processor.
    pub milli_cpus: Option<NonZeroU32>,
    /// Whether it sees its root file system read-only.
    pub read_only: bool,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
}

impl Engine {
    /// Creates a container that is to be started at once: it counts as running from the beginning, so that whatever
    /// interrupts the start is seen as a crash and repaired.
    ///
    /// # Errors
    /// When the image is not there, the name is taken, or the host has no room; nothing is left behind.
    pub fn create_running(&self, options: CreateOptions) -> Result<Created, EngineError> {
        // An image cannot be removed between being found and being used.
        let frozen = self.freeze()?;
        let image = self.store().resolve(&options.image)?;
        if image.platform() != PLATFORM {
            return Err(EngineError::Platform { image: options.image, platform: image.platform() });
        }
        let (id, lock) = self.reserve()?;
        let directory = Directory::of(self.root(), &id);
        let created = (|| {
            let config = configure(id.clone(), &image, options)?;
            names::take(self.root(), &config.name, &id)?;
            drop(frozen);
            moat_rootfs::writable::create_from_template(&self.template()?, &directory.writable())?;
            let state = State { status: Status::Running, ..State::created() };
            record::write(&directory.state(), &state)?;
            record::write(&directory.config(), &config)?;
            Ok(Container { directory: directory.clone(), config, state })
        })();
        match created {
            Ok(container) => Ok(Created { container, lock }),
            Err(e) => {
                // What cannot be removed now is swept by the next command.
                let _ = directory.remove();
                Err(e)
            }
        }
    }

    /// Makes the directory of a new container and locks it. The caller holds the set of containers.
    fn reserve(&self) -> Result<(ContainerId, Lock), EngineError> {
        let taken = self.ids()?;
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

/// Decides everything about a new container.
fn configure(id: ContainerId, image: &Image, options: CreateOptions) -> Result<ContainerConfig, EngineError> {
    let process = configure_process(&image.config, &options)?;
    let name = match options.name {
        Some(name) => name,
        None => random_name()
            .map_err(|e| EngineError::Host { action: "choose a container name", source: e.into() })?,
    };
    Ok(ContainerConfig {
        name,
        created: Timestamp::now(),
        image: options.image,
        image_id: image.id.to_string(),
        process,
        hostname: options.hostname.unwrap_or_else(|| id.short().to_owned()),
        resources: Resources {
            memory_mib: options.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB),
            milli_cpus: options.milli_cpus,
        },
        read_only: options.read_only,
        tmpfs: options.tmpfs,
        auto_remove: options.auto_remove,
        id,
    })
}

fn configure_process(
    image: &ImageConfiguration,
    options: &CreateOptions,
) -> Result<ProcessConfig, EngineError> {
    let image = image.config().clone().unwrap_or_default();
    // As Docker has it: an entry point from the command line takes the image's CMD away.
    let (entrypoint, image_cmd) = match &options.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => (Vec::new(), Vec::new()),
        Some(entrypoint) => (vec![entrypoint.clone()], Vec::new()),
        None => (image.entrypoint().clone().unwrap_or_default(), image.cmd().clone().unwrap_or_default()),
    };
    let command = if options.command.is_empty() { image_cmd } else { options.command.clone() };
    let args: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if args.is_empty() {
        return Err(EngineError::NoCommand);
    }
    if let Some(signal) = image.stop_signal() {
        check_signal(signal)?;
    }
    let working_dir =
        options.working_dir.clone().or_else(|| image.working_dir().clone()).filter(|path| !path.is_empty());
    let working_dir = working_dir.unwrap_or_else(|| "/".to_owned());
    if !working_dir.starts_with('/') {
        return Err(EngineError::Invalid(format!(
            "the working directory '{working_dir}' is invalid, it needs to be an absolute path"
        )));
    }
    Ok(ProcessConfig {
        args,
        env: merge_env(image.env().as_deref().unwrap_or_default(), &options.env),
        working_dir,
        user: options.user.clone().or_else(|| image.user().clone()).unwrap_or_default(),
        terminal: options.terminal,
        open_stdin: options.open_stdin,
    })
}

/// Checks a signal's name, with or without SIG, or its number.
fn check_signal(text: &str) -> Result<(), EngineError> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let real_time = ["RTMIN", "RTMAX"].iter().any(|limit| {
        name.strip_prefix(limit).is_some_and(|offset| offset.is_empty() || offset.parse::<i8>().is_ok())
    });
    let known = real_time
        || format!("SIG{name}").parse::<nix::sys::signal::Signal>().is_ok()
        || text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    if known {
        Ok(())
    } else {
        Err(EngineError::Invalid(format!("the image's stop signal '{text}' is none")))
    }
}

/// The image's variables, overridden by the user's; a user's `NAME` without a value takes one away.
fn merge_env(image: &[String], user: &[String]) -> Vec<String> {
    fn name(variable: &str) -> &str {
        variable.split_once('=').map_or(variable, |(name, _)| name)
    }
    let mut merged: Vec<String> = Vec::new();
    for variable in image.iter().chain(user) {
        let known = merged.iter().position(|other| name(other) == name(variable));
        match (known, variable.contains('=')) {
            (Some(at), true) => merged[at].clone_from(variable),
            (Some(at), false) => {
                merged.remove(at);
            }
            (None, true) => merged.push(variable.clone()),
            (None, false) => {}
        }
    }
    if !merged.iter().any(|variable| name(variable) == "PATH") {
        merged.insert(0, DEFAULT_PATH.to_owned());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::{ConfigBuilder, ImageConfigurationBuilder};

    fn image() -> ImageConfiguration {
        let config = ConfigBuilder::default()
            .entrypoint(vec!["/entry".to_owned()])
            .cmd(vec!["serve".to_owned()])
            .env(vec!["A=1".to_owned(), "B=2".to_owned()])
            .working_dir("/srv")
            .user("app")
            .build()
            .unwrap();
        let mut image = ImageConfigurationBuilder::default().build().unwrap();
        image.set_config(Some(config));
        image
    }

    #[test]
    fn the_command_line_overrides_the_image() {
        let plain = configure_process(&image(), &CreateOptions::default()).unwrap();
        assert_eq!(plain.args, ["/entry", "serve"]);
        assert_eq!((plain.working_dir.as_str(), plain.user.as_str()), ("/srv", "app"));

        let command = CreateOptions { command: vec!["x".to_owned()], ..CreateOptions::default() };
        assert_eq!(configure_process(&image(), &command).unwrap().args, ["/entry", "x"]);

        let entry = CreateOptions { entrypoint: Some("/other".to_owned()), ..CreateOptions::default() };
        assert_eq!(configure_process(&image(), &entry).unwrap().args, ["/other"]);

        let none = CreateOptions { entrypoint: Some(String::new()), ..CreateOptions::default() };
        assert!(matches!(configure_process(&image(), &none), Err(EngineError::NoCommand)));

        let relative = CreateOptions { working_dir: Some("srv".to_owned()), ..CreateOptions::default() };
        assert!(matches!(configure_process(&image(), &relative), Err(EngineError::Invalid(_))));
    }

    #[test]
    fn variables_merge_by_name() {
        let image = ["PATH=/bin".to_owned(), "A=1".to_owned(), "B=2".to_owned()];
        let user = ["A=one=1".to_owned(), "C=3".to_owned(), "B".to_owned(), "D".to_owned()];
        assert_eq!(merge_env(&image, &user), ["PATH=/bin", "A=one=1", "C=3"]);
        assert_eq!(merge_env(&[], &[]), [DEFAULT_PATH]);
    }
}
