//! `moat save`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use moat_engine::archive::Output;
use moat_engine::{Engine, Root};

/// Write images to an archive that 'load' reads, here and in Docker
///
/// The archive is an OCI image layout as well. A name without a tag means all tags of that repository.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat save localhost/web > web.tar
  moat save -o images.tar localhost/web localhost/db
  moat save localhost/web | docker load")]
pub struct Args {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Names, ids, or the beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Writes the archive.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    if args.output.is_none() && io::stdout().is_terminal() {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    let engine = Engine::open(root.clone())?;
    match &args.output {
        Some(path) => {
            let mut output = Output::create(path)?;
            engine.save(&args.images, &mut output)?;
            output.finish()?;
        }
        None => engine.save(&args.images, &mut io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}
