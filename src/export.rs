//! `moat export`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use moat_engine::archive::Output;
use moat_engine::{Engine, Root};

/// Write a container's file system as a tar archive
///
/// What is mounted in it, such as volumes and /proc, is left out.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat export web > web.tar
  moat export -o web.tar web
  moat export web | tar -t")]
pub struct Args {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name, id, or the beginning of an id
    container: String,
}

/// Writes the archive.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    if args.output.is_none() && io::stdout().is_terminal() {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    let engine = Engine::open(root)?;
    let container = engine.find(&args.container)?;
    match &args.output {
        Some(path) => {
            let mut output = Output::create(path)?;
            engine.export(&container, &mut output)?;
            output.finish()?;
        }
        None => engine.export(&container, &mut io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}
