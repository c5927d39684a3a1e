//! `moat import`.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use moat_engine::image::{Change, ImportRequest, Reference};
use moat_engine::{Engine, Root};

/// Make an image from a tar of a file system
///
/// The archive may be compressed with gzip or zstd. It becomes the image's one layer.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat import rootfs.tar.gz localhost/mine
  moat export web | moat import -c 'CMD [\"/bin/sh\"]' - localhost/flat")]
pub struct Args {
    /// Change the image's config, as with 'moat commit'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// A remark for the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// The archive, or '-' for standard input
    #[arg(value_name = "FILE")]
    source: PathBuf,
    /// The new image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<Reference>,
}

/// Makes the image and prints its id.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root.clone())?;
    let source = args.source.display().to_string();
    let request = ImportRequest {
        source: source.clone(),
        name: args.name,
        message: args.message,
        changes: args.change,
    };
    let id = if args.source.as_os_str() == "-" {
        engine.import(io::stdin().lock(), request)?
    } else {
        let archive = File::open(&args.source).with_context(|| format!("cannot import {source}"))?;
        engine.import(archive, request)?
    };
    say!("{id}");
    Ok(ExitCode::SUCCESS)
}
