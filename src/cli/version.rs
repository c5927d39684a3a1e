//! `moat version`.

use std::process::ExitCode;

use clap::ValueEnum;

/// Print the version
#[derive(clap::Args)]
pub struct Args {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Prints the version of this program and of the protocol that it speaks with its guests.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (version, protocol) = (env!("CARGO_PKG_VERSION"), moat_protocol::VERSION);
    match args.format {
        Format::Text => {
            say!("Moat version {version}");
            say!(" Guest protocol:  {protocol}");
            say!(" OS/Arch:         {}/{}", std::env::consts::OS, architecture());
        }
        Format::Json => say!(
            "{}",
            serde_json::json!({
                "Version": version,
                "GuestProtocol": protocol,
                "Os": std::env::consts::OS,
                "Arch": architecture(),
            })
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// The processor architecture as the OCI calls it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    }
}
