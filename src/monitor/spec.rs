//! What the agent is asked to start, from a container's configuration.

use std::collections::BTreeSet;

use moat_protocol::{ContainerSpec, HostsEntry, TerminalSize, defaults};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    BoxBuilder, LinuxCapabilitiesBuilder, Mount, MountBuilder, Process, ProcessBuilder, UserBuilder,
};

use crate::engine::config::{ContainerConfig, Tmpfs};

/// The size of a container's /dev/shm in bytes, Docker's.
const SHM_SIZE: u64 = 64 << 20;

/// What a tmpfs is mounted with, Docker's defaults; the user's options come after them and win.
const TMPFS_DEFAULTS: [&str; 3] = ["nosuid", "nodev", "noexec"];

/// Builds the specification for a container whose terminal, if it has one, has the given size.
///
/// # Errors
/// When a part of the specification cannot be built.
pub fn container_spec(
    config: &ContainerConfig,
    size: Option<TerminalSize>,
) -> Result<ContainerSpec, OciSpecError> {
    let mut mounts = defaults::mounts(SHM_SIZE);
    for tmpfs in &config.tmpfs {
        mounts.push(tmpfs_mount(tmpfs)?);
    }
    Ok(ContainerSpec {
        hostname: config.hostname.clone(),
        user: config.process.user.clone(),
        process: process(config, size)?,
        mounts,
        read_only_root: config.read_only,
        masked_paths: defaults::MASKED_PATHS.map(str::to_owned).to_vec(),
        read_only_paths: defaults::READ_ONLY_PATHS.map(str::to_owned).to_vec(),
        hosts: hosts(&config.hostname),
        open_stdin: config.process.open_stdin,
    })
}

fn process(config: &ContainerConfig, size: Option<TerminalSize>) -> Result<Process, OciSpecError> {
    let capabilities = defaults::capabilities();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable([])
        .ambient([])
        .build()?;
    let mut process = ProcessBuilder::default()
        .args(config.process.args.clone())
        .env(environment(config))
        .cwd(&config.process.working_dir)
        .terminal(config.process.terminal)
        .user(UserBuilder::default().build()?)
        .capabilities(capabilities)
        .no_new_privileges(false)
        .build()?;
    process.set_rlimits(None);
    if let Some(size) = size {
        let size = BoxBuilder::default().height(size.rows).width(size.columns).build()?;
        process.set_console_size(Some(size));
    }
    Ok(process)
}

/// The container's variables, with those that Docker adds where nobody set them.
fn environment(config: &ContainerConfig) -> Vec<String> {
    let mut environment = config.process.env.clone();
    let known: BTreeSet<String> =
        environment.iter().filter_map(|variable| Some(variable.split_once('=')?.0.to_owned())).collect();
    let mut add = |name: &str, value: &str| {
        if !known.contains(name) {
            environment.push(format!("{name}={value}"));
        }
    };
    add("HOSTNAME", &config.hostname);
    if config.process.terminal {
        add("TERM", "xterm");
    }
    environment
}

fn tmpfs_mount(tmpfs: &Tmpfs) -> Result<Mount, OciSpecError> {
    let options = TMPFS_DEFAULTS.map(str::to_owned).into_iter().chain(tmpfs.options.iter().cloned());
    MountBuilder::default()
        .destination(&tmpfs.destination)
        .typ("tmpfs")
        .source("tmpfs")
        .options(options.collect::<Vec<_>>())
        .build()
}

/// Without a network of its own a container knows itself and nobody else.
fn hosts(hostname: &str) -> Vec<HostsEntry> {
    let entry = |address: &str, names: &[&str]| HostsEntry {
        address: address.to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
    };
    vec![
        entry("127.0.0.1", &["localhost"]),
        entry("::1", &["localhost", "ip6-localhost", "ip6-loopback"]),
        entry("127.0.1.1", &[hostname]),
    ]
}
