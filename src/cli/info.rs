//! `moat info`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use moat::engine::Engine;
use moat::engine::artifacts::Artifacts;
use moat::engine::state::Status;
use moat::root::Root;
use nix::sys::sysinfo::sysinfo;
use nix::sys::utsname::uname;
use serde_json::{Value, json};

use super::template::Template;
use super::version::architecture;

/// Show what Moat has and where it runs
///
/// The fields for --format are .Containers .ContainersRunning .ContainersPaused .ContainersStopped .Images
/// .ServerVersion .KernelVersion .OperatingSystem .OSType .Architecture .NCPU .MemTotal .Name .DockerRootDir
/// .DefaultRuntime .GuestKernel.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat info
  moat info --format '{{.ServerVersion}} {{.ContainersRunning}}'")]
pub struct Args {
    /// A Go template, or `json`
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints counts, places and the host.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let template = format.map(Template::parse).transpose()?;
    let object = object(&Engine::open(root)?)?;
    let text = match template {
        Some(template) => template.apply(&object)? + "\n",
        None => text(&object)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Docker's names for what there is.
fn object(engine: &Engine) -> anyhow::Result<Value> {
    let containers = engine.containers()?;
    let count = |status| containers.iter().filter(|container| container.state.status == status).count();
    let host = uname().context("cannot ask the kernel who it is")?;
    let memory = sysinfo().context("cannot ask the kernel for its memory")?.ram_total();
    Ok(json!({
        "Containers": containers.len(),
        "ContainersRunning": count(Status::Running) + count(Status::Restarting),
        "ContainersPaused": count(Status::Paused),
        "ContainersStopped": count(Status::Exited) + count(Status::Created),
        "Images": engine.store().list()?.len(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "KernelVersion": host.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSType": std::env::consts::OS,
        "Architecture": architecture(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": memory,
        "Name": host.nodename().to_string_lossy(),
        "DockerRootDir": engine.root().path().display().to_string(),
        "DefaultRuntime": "moat",
        "GuestKernel": Artifacts::find().ok().map(|found| found.kernel().display().to_string()),
    }))
}

/// The host's name for itself, as os-release(5) has it.
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("unknown", |name| name.trim_matches('"')).to_owned()
}

/// The lines for people.
fn text(object: &Value) -> anyhow::Result<String> {
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
    writeln!(text, "Total Memory: {memory:.2}GiB")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_has_dockers_names() {
        let object = json!({
            "Containers": 3, "ContainersRunning": 1, "ContainersPaused": 0, "ContainersStopped": 2, "Images": 4,
            "ServerVersion": "1.0", "KernelVersion": "6.1", "OperatingSystem": "Debian", "OSType": "linux",
            "Architecture": "amd64", "NCPU": 2, "MemTotal": 3u64 << 29, "Name": "host", "DockerRootDir": "/root/dir",
            "DefaultRuntime": "moat", "GuestKernel": "/kernel",
        });
        let text = text(&object).unwrap();
        for line in [
            "Containers: 3\n Running: 1\n",
            "\nCPUs: 2\n",
            "\nMoat Root Dir: /root/dir\n",
            "Memory: 1.50GiB\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
