//! What the agent is asked to start, from a container's configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use moat_protocol::{ContainerSpec, ExecSpec, TerminalSize, defaults};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    BoxBuilder, Capabilities, LinuxCapabilitiesBuilder, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder,
    Process, ProcessBuilder, UserBuilder,
};

use super::network;
use moat_containers::config::{ContainerConfig, ProcessConfig, Security, Tmpfs, Ulimit};
use moat_containers::environment::merge_env;
use moat_monitor::wire::ExecRequest;
use moat_network::endpoint::Attachment;

/// What a tmpfs is mounted with, Docker's defaults; the user's options come after them and win.
const TMPFS_DEFAULTS: [&str; 3] = ["nosuid", "nodev", "noexec"];

/// Builds the specification for a container whose terminal, if it has one, has the given size. `attachment` is what it
/// has of networks.
///
/// # Errors
/// When a part of the specification cannot be built.
pub fn container_spec(
    config: &ContainerConfig,
    attachment: Option<&Attachment>,
    size: Option<TerminalSize>,
) -> Result<ContainerSpec, OciSpecError> {
    let privileged = config.security.privileged;
    let mut mounts = defaults::mounts(config.shm_size);
    if privileged {
        mounts.iter_mut().for_each(make_writable);
    }
    if config.no_shm {
        mounts.retain(|mount| mount.destination() != Path::new("/dev/shm"));
    }
    for tmpfs in &config.tmpfs {
        mounts.push(tmpfs_mount(tmpfs)?);
    }
    let paths = |paths: &[&str]| match privileged || config.security.unmasked {
        true => Vec::new(),
        false => paths.iter().map(|&path| path.to_owned()).collect(),
    };
    Ok(ContainerSpec {
        hostname: config.hostname.clone(),
        user: config.process.user.clone(),
        groups: config.groups.clone(),
        process: process(config, &config.process, false, size)?,
        mounts,
        read_only_root: config.read_only,
        masked_paths: paths(&defaults::MASKED_PATHS),
        read_only_paths: paths(&defaults::READ_ONLY_PATHS),
        hosts: network::spec::hosts(config, attachment),
        network: network::spec::network(&config.network, attachment),
        open_stdin: config.process.open_stdin,
        sysctls: sysctls(config),
        pids_limit: config.resources.pids_limit.map(Into::into),
        init: config.init,
        all_devices: privileged,
    })
}

/// Builds the specification of one more process in a container.
///
/// # Errors
/// When a part of the specification cannot be built.
pub fn exec_spec(
    config: &ContainerConfig,
    request: &ExecRequest,
    size: Option<TerminalSize>,
) -> Result<ExecSpec, OciSpecError> {
    let own = &config.process;
    let more = ProcessConfig {
        args: request.args.clone(),
        env: merge_env(&own.env, &request.env),
        working_dir: request.working_dir.clone().unwrap_or_else(|| own.working_dir.clone()),
        user: request.user.clone().unwrap_or_else(|| own.user.clone()),
        terminal: request.terminal,
        open_stdin: request.stdin,
        ..own.clone()
    };
    Ok(ExecSpec {
        user: more.user.clone(),
        groups: config.groups.clone(),
        process: process(config, &more, request.privileged, size)?,
        open_stdin: request.stdin,
        open_output: request.output,
    })
}

/// The kernel parameters that were asked for. The domain of the host name is one, too.
fn sysctls(config: &ContainerConfig) -> BTreeMap<String, String> {
    let mut all = config.sysctls.clone();
    if !config.domainname.is_empty() {
        all.entry("kernel.domainname".to_owned()).or_insert_with(|| config.domainname.clone());
    }
    all
}

fn process(
    container: &ContainerConfig,
    config: &ProcessConfig,
    privileged: bool,
    size: Option<TerminalSize>,
) -> Result<Process, OciSpecError> {
    let privileged = privileged || container.security.privileged;
    let capabilities = capabilities(&container.security, privileged);
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities)
        .inheritable([])
        .ambient([])
        .build()?;
    let mut process = ProcessBuilder::default()
        .args(config.args.clone())
        .env(environment(container, config))
        .cwd(&config.working_dir)
        .terminal(config.terminal)
        .user(UserBuilder::default().build()?)
        .capabilities(capabilities)
        .no_new_privileges(container.security.no_new_privileges)
        .build()?;
    let limits = config.ulimits.iter().map(rlimit).collect::<Result<Vec<_>, _>>()?;
    process.set_rlimits((!limits.is_empty()).then_some(limits));
    if let Some(size) = size {
        let size = BoxBuilder::default().height(size.rows).width(size.columns).build()?;
        process.set_console_size(Some(size));
    }
    Ok(process)
}

/// Docker's capabilities, more and less; names were checked when the container was created.
fn capabilities(security: &Security, privileged: bool) -> Capabilities {
    let all = defaults::all_capabilities();
    let named = |names: &[String]| -> Capabilities {
        if names.iter().any(|name| name == "ALL") {
            return all.clone();
        }
        names.iter().filter_map(|name| name.parse().ok()).collect()
    };
    if privileged {
        return all;
    }
    let dropped = named(&security.cap_drop);
    let added = named(&security.cap_add);
    let kept = defaults::capabilities().into_iter().filter(|capability| !dropped.contains(capability));
    // As with Docker, `--cap-drop ALL --cap-add X` leaves X, and `--cap-add ALL --cap-drop X` all but X.
    let everything = security.cap_add.iter().any(|name| name == "ALL");
    kept.chain(added.into_iter().filter(|capability| !everything || !dropped.contains(capability))).collect()
}

fn rlimit(limit: &Ulimit) -> Result<PosixRlimit, OciSpecError> {
    // The names are those of setrlimit(2), which OCI writes in capitals.
    let kind = serde_json::from_value(format!("RLIMIT_{}", limit.name.to_uppercase()).into())?;
    PosixRlimitBuilder::default()
        .typ::<oci_spec::runtime::PosixRlimitType>(kind)
        .hard(limit.hard)
        .soft(limit.soft)
        .build()
}

fn make_writable(mount: &mut Mount) {
    let options = mount.options().clone().unwrap_or_default();
    mount.set_options(Some(options.into_iter().filter(|option| option != "ro").collect()));
}

/// The process's variables, with those that Docker adds where they are not set.
fn environment(container: &ContainerConfig, process: &ProcessConfig) -> Vec<String> {
    let mut environment = process.env.clone();
    let known: BTreeSet<String> =
        environment.iter().filter_map(|variable| Some(variable.split_once('=')?.0.to_owned())).collect();
    let mut add = |name: &str, value: &str| {
        if !known.contains(name) {
            environment.push(format!("{name}={value}"));
        }
    };
    add("HOSTNAME", &container.hostname);
    if process.terminal {
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
