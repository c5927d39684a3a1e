//! `moat info`.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use moat_docker::info::{Facts, object, text};
use moat_docker::template::Template;
use moat_engine::{Engine, Info, Root};

/// Show what Moat has and where it runs
///
/// The fields for --format are those of Docker, such as .ServerVersion .Containers .ContainersRunning .Images .Driver
/// .LoggingDriver .CgroupVersion .SecurityOptions .Runtimes .NCPU .MemTotal .Name .DockerRootDir, and .GuestKernel.
/// `--format json` shows them all.
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
    let object = object(&facts(Engine::open(root)?.info()?));
    let text = match template {
        Some(template) => template.apply(&object)? + "\n",
        None => text(&object)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What there is.
fn facts(info: Info) -> Facts {
    Facts {
        containers: info.containers,
        images: info.images,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: info.host.kernel,
        operating_system: info.host.system,
        os_version: info.host.system_version,
        now: Timestamp::now(),
        processors: info.host.processors,
        memory: info.host.memory,
        hostname: info.host.name,
        root: info.root.display().to_string(),
        guest_kernel: info.guest_kernel.map(|path| path.display().to_string()),
    }
}
