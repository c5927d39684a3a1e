//! What `info` shows.

use std::fmt::Write as _;

use moat_containers::state::Status;
use serde_json::{Value, json};

use crate::template::{Template, TemplateError};
use crate::version::architecture;

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

/// The facts under Docker's names.
pub fn object(facts: &Facts) -> Value {
    let count = |wanted| facts.containers.iter().filter(|status| **status == wanted).count();
    json!({
        "Containers": facts.containers.len(),
        "ContainersRunning": count(Status::Running) + count(Status::Restarting),
        "ContainersPaused": count(Status::Paused),
        "ContainersStopped": count(Status::Exited) + count(Status::Created),
        "Images": facts.images,
        "ServerVersion": facts.version,
        "KernelVersion": facts.kernel,
        "OperatingSystem": facts.operating_system,
        "OSType": std::env::consts::OS,
        "Architecture": architecture(),
        "NCPU": facts.processors,
        "MemTotal": facts.memory,
        "Name": facts.hostname,
        "DockerRootDir": facts.root,
        "DefaultRuntime": "moat",
        "GuestKernel": facts.guest_kernel,
    })
}

/// The facts as lines of text.
///
/// # Errors
/// When `object` lacks a field of [`object`].
pub fn text(object: &Value) -> Result<String, TemplateError> {
    let memory = object["MemTotal"].as_u64().unwrap_or_default() as f64 / f64::from(1u32 << 30);
    let lines = Template::parse(
        "Containers: {{.Containers}}
 Running: {{.ContainersRunning}}
 Paused: {{.ContainersPaused}}
 Stopped: {{.ContainersStopped}}
Images: {{.Images}}
Server Version: {{.ServerVersion}}
Kernel Version: {{.KernelVersion}}
Operating System: {{.OperatingSystem}}
OSType: {{.OSType}}
Architecture: {{.Architecture}}
CPUs: {{.NCPU}}
Name: {{.Name}}
Moat Root Dir: {{.DockerRootDir}}
Guest Kernel: {{with .GuestKernel}}{{.}}{{else}}not found, see 'moat doctor'{{end}}
",
    )?;
    let mut text = lines.apply(object)?;
    let _ = writeln!(text, "Total Memory: {memory:.2}GiB");
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
            "Containers: 3\n Running: 1\n",
            "\nCPUs: 2\n",
            "\nMoat Root Dir: /root/dir\n",
            "\nGuest Kernel: not found, see 'moat doctor'\n",
            "Memory: 1.50GiB\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
