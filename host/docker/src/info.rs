//! What `info` shows.

use std::fmt::Write as _;

use jiff::Timestamp;
use moat_containers::state::Status;
use serde_json::{Value, json};

use crate::template::{Template, TemplateError};
use crate::version::{self, architecture};

/// Facts about the root directory and its host.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The state of each container.
    pub containers: Vec<Status>,
    /// How many images there are.
    pub images: usize,
    /// The program's version.
    pub version: String,
    /// The version of the host's kernel.
    pub kernel: String,
    /// The name of the host's operating system.
    pub operating_system: String,
    /// The version of the host's operating system.
    pub os_version: String,
    /// The time of the question.
    pub now: Timestamp,
    /// How many processors the host has.
    pub processors: usize,
    /// The host's memory in bytes.
    pub memory: u64,
    /// The host's name.
    pub hostname: String,
    /// The root directory.
    pub root: String,
    /// The path of the guest's kernel, if it is found.
    pub guest_kernel: Option<String>,
}

/// The facts under Docker's names. What a runtime of its own kernels has no word for is Docker's empty value.
pub fn object(facts: &Facts) -> Value {
    let count = |wanted| facts.containers.iter().filter(|status| **status == wanted).count();
    let mut object = json!({
        "ID": "",
        "Containers": facts.containers.len(),
        "ContainersRunning": count(Status::Running) + count(Status::Restarting),
        "ContainersPaused": count(Status::Paused),
        "ContainersStopped": count(Status::Exited) + count(Status::Created),
        "Images": facts.images,
        "Driver": "moat",
        "DriverStatus": [["Image Format", "erofs"], ["Writable Format", "ext4"]],
        "ServerVersion": facts.version,
        "KernelVersion": facts.kernel,
        "OperatingSystem": facts.operating_system,
        "OSVersion": facts.os_version,
        "OSType": std::env::consts::OS,
        "Architecture": std::env::consts::ARCH,
        "NCPU": facts.processors,
        "MemTotal": facts.memory,
        "Name": facts.hostname,
        "DockerRootDir": facts.root,
        "SystemTime": facts.now.to_string(),
        "GuestKernel": facts.guest_kernel,
        "ClientInfo": {
            "Version": facts.version,
            "Os": std::env::consts::OS,
            "Arch": architecture(),
            "Context": "default",
            "Debug": false,
            "DefaultAPIVersion": version::API,
            "GitCommit": "",
            "GoVersion": "",
            "BuildTime": "",
            "Plugins": [],
            "Warnings": null,
        },
    });
    if let (Value::Object(object), Value::Object(constant)) = (&mut object, constant()) {
        object.extend(constant);
    }
    object
}

/// What is the same on every host.
fn constant() -> Value {
    json!({
        "Plugins": {"Volume": [], "Network": ["bridge", "null"], "Authorization": null, "Log": ["moat"]},
        "LoggingDriver": "moat",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2",
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": null,
        },
        "Runtimes": {"moat": {"path": "moat-vmm", "status": null}},
        "RegistryConfig": {"IndexConfigs": {}, "InsecureRegistryCIDRs": [], "Mirrors": null},
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": "", "Expected": ""},
        "InitCommit": {"ID": "", "Expected": ""},
        "CDISpecDirs": [],
        "KernelMemoryTCP": false,
        "DefaultRuntime": "moat",
        "InitBinary": "",
        "SecurityOptions": ["name=kvm", "name=seccomp,profile=builtin", "name=cgroupns"],
        "Warnings": null,
        "Isolation": "",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "MemoryLimit": true,
        "SwapLimit": false,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": false,
        "CPUSet": false,
        "PidsLimit": true,
        "IPv4Forwarding": true,
        "OomKillDisable": false,
        "Debug": false,
        "ExperimentalBuild": false,
        "LiveRestoreEnabled": true,
        "Labels": [],
        "GenericResources": null,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "NEventsListener": 0,
        "NFd": 0,
        "NGoroutines": 0,
    })
}

/// The facts in Docker's sections.
///
/// # Errors
/// When `object` lacks a field of [`object`].
pub fn text(object: &Value) -> Result<String, TemplateError> {
    let memory = object["MemTotal"].as_u64().unwrap_or_default() as f64 / f64::from(1u32 << 30);
    let lines = Template::parse(
        "Client: Moat
 Version:    {{.ClientInfo.Version}}
 Context:    {{.ClientInfo.Context}}
 Debug Mode: {{.ClientInfo.Debug}}

Server:
 Containers: {{.Containers}}
  Running: {{.ContainersRunning}}
  Paused: {{.ContainersPaused}}
  Stopped: {{.ContainersStopped}}
 Images: {{.Images}}
 Server Version: {{.ServerVersion}}
 Storage Driver: {{.Driver}}
{{range .DriverStatus}}  {{index . 0}}: {{index . 1}}
{{end}} Logging Driver: {{.LoggingDriver}}
 Cgroup Driver: {{.CgroupDriver}}
 Cgroup Version: {{.CgroupVersion}}
 Plugins:
  Volume: {{join .Plugins.Volume \" \"}}
  Network: {{join .Plugins.Network \" \"}}
  Log: {{join .Plugins.Log \" \"}}
 Swarm: {{.Swarm.LocalNodeState}}
 Runtimes:{{range $name, $runtime := .Runtimes}} {{$name}}{{end}}
 Default Runtime: {{.DefaultRuntime}}
 Guest Kernel: {{with .GuestKernel}}{{.}}{{else}}not found, see 'moat doctor'{{end}}
 Security Options:
{{range .SecurityOptions}}  {{.}}
{{end}} Kernel Version: {{.KernelVersion}}
 Operating System: {{.OperatingSystem}}
 OSType: {{.OSType}}
 Architecture: {{.Architecture}}
 CPUs: {{.NCPU}}
",
    )?;
    let mut text = lines.apply(object)?;
    let _ = writeln!(text, " Total Memory: {memory:.2}GiB");
    text += &Template::parse(
        " Name: {{.Name}}
 Moat Root Dir: {{.DockerRootDir}}
 Debug Mode: {{.Debug}}
 Experimental: {{.ExperimentalBuild}}
 Live Restore Enabled: {{.LiveRestoreEnabled}}
",
    )?
    .apply(object)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_has_dockers_names() {
        let object = object(&Facts {
            containers: vec![Status::Running, Status::Exited, Status::Created],
            images: 4,
            processors: 2,
            memory: 3 << 29,
            root: "/root/dir".to_owned(),
            ..Facts::default()
        });
        assert_eq!(object["ContainersStopped"], 2);
        let text = text(&object).unwrap();
        for line in [
            "\nServer:\n Containers: 3\n  Running: 1\n",
            "\n Storage Driver: moat\n  Image Format: erofs\n",
            "\n Runtimes: moat\n Default Runtime: moat\n",
            "\n CPUs: 2\n Total Memory: 1.50GiB\n",
            "\n Moat Root Dir: /root/dir\n",
            "\n Guest Kernel: not found, see 'moat doctor'\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
