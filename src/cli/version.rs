//! `moat version`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::template::Template;

/// Print the version
///
/// The fields for --format are those of Docker: .Client.Version .Client.Os .Client.Arch, the same of .Server, and
/// .Server.KernelVersion.
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
    match args.format.as_str() {
        "text" | "" => {
            say!("Moat version {}", env!("CARGO_PKG_VERSION"));
            say!(" Guest protocol:  {}", moat_protocol::VERSION);
            say!(" OS/Arch:         {}/{}", std::env::consts::OS, architecture());
        }
        format => say!("{}", Template::parse(format)?.apply(&object())?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Docker's names for the versions. There is no daemon: client and server are this program.
fn object() -> Value {
    let program = json!({
        "Platform": {"Name": "Moat"},
        "Version": env!("CARGO_PKG_VERSION"),
        "Os": std::env::consts::OS,
        "Arch": architecture(),
    });
    let mut server = program.clone();
    server["GuestProtocol"] = json!(moat_protocol::VERSION);
    // A kernel that does not tell its version has none to show.
    server["KernelVersion"] = nix::sys::utsname::uname()
        .map_or(Value::Null, |host| host.release().to_string_lossy().into_owned().into());
    json!({"Client": program, "Server": server})
}

/// The processor architecture as the OCI calls it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_dockers_names() {
        let version = env!("CARGO_PKG_VERSION");
        let template = Template::parse("{{.Client.Version}} {{.Server.Version}} {{.Server.Os}}").unwrap();
        assert_eq!(template.apply(&object()).unwrap(), format!("{version} {version} linux"));
        assert!(
            Template::parse("{{.Server.KernelVersion}}").unwrap().apply(&object()).unwrap().contains('.')
        );
        let json: Value =
            serde_json::from_str(&Template::parse("json").unwrap().apply(&object()).unwrap()).unwrap();
        assert_eq!(json, object());
    }
}
