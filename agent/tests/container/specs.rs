//! What the tests start.

use std::collections::BTreeMap;

use moat_protocol::{ContainerSpec, ExecSpec, HostsEntry, NetworkSpec, defaults};
use oci_spec::runtime::{
    LinuxCapabilities, LinuxCapabilitiesBuilder, Mount, MountBuilder, Process, ProcessBuilder, UserBuilder,
};

/// A container like Docker's, running `command` in a shell.
pub fn shell(command: &str) -> ContainerSpec {
    spec(&["sh", "-c", command])
}

/// A container like Docker's.
pub fn spec(args: &[&str]) -> ContainerSpec {
    ContainerSpec {
        hostname: "box".to_owned(),
        user: String::new(),
        groups: Vec::new(),
        process: process_of(args),
        mounts: defaults::mounts(1 << 20),
        read_only_root: false,
        masked_paths: defaults::MASKED_PATHS.map(str::to_owned).to_vec(),
        read_only_paths: defaults::READ_ONLY_PATHS.map(str::to_owned).to_vec(),
        hosts: vec![HostsEntry { address: "127.0.0.1".to_owned(), names: vec!["localhost".to_owned()] }],
        network: NetworkSpec::default(),
        open_stdin: false,
        sysctls: BTreeMap::new(),
        pids_limit: None,
        init: false,
        all_devices: false,
    }
}

/// One more process in a container, running `command` in a shell.
pub fn also(command: &str) -> ExecSpec {
    let process = process_of(&["sh", "-c", command]);
    ExecSpec { user: String::new(), groups: Vec::new(), process, open_stdin: false, open_output: true }
}

fn process_of(args: &[&str]) -> Process {
    let mut process = ProcessBuilder::default()
        .args(args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
        .env(["PATH=/sbin:/bin".to_owned()])
        .cwd("/")
        .terminal(false)
        .user(UserBuilder::default().build().unwrap())
        .capabilities(capabilities())
        .no_new_privileges(false)
        .build()
        .unwrap();
    process.set_rlimits(None);
    process
}

pub fn capabilities() -> LinuxCapabilities {
    LinuxCapabilitiesBuilder::default()
        .bounding(defaults::capabilities())
        .effective(defaults::capabilities())
        .permitted(defaults::capabilities())
        .inheritable([])
        .ambient([])
        .build()
        .unwrap()
}

pub fn tmpfs(destination: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .destination(destination)
        .typ("tmpfs")
        .source("tmpfs")
        .options(options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
        .build()
        .unwrap()
}
