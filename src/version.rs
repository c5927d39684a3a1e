//! `moat version`.

use std::process::ExitCode;

use moat_docker::template::Template;
use moat_docker::version::{Facts, object, text};

/// Print the version
///
/// The fields for --format are those of Docker: .Client.Version .Client.ApiVersion .Client.Os .Client.Arch, the same of
/// .Server, and .Server.MinAPIVersion .Server.KernelVersion .Server.Components.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat version
  moat version --format '{{.Server.Version}}'")]
pub struct Args {
    /// A Go template, `json` or `text`
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    format: String,
}

/// Prints the version of this program and of the protocol that it speaks with its guests.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let host = nix::sys::utsname::uname().ok();
    let kernel = host.as_ref().map(|host| host.release().to_string_lossy());
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        guest_protocol: moat_engine::GUEST_PROTOCOL,
        kernel: kernel.as_deref(),
    };
    match args.format.as_str() {
        "text" | "" => say!("{}", text(&facts)),
        format => say!("{}", Template::parse(format)?.apply(&object(&facts))?),
    }
    Ok(ExitCode::SUCCESS)
}
