//! `moat load`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use moat_engine::image::{LoadEvent, Loaded};
use moat_engine::{Engine, EngineError, Root};

use super::human;
use super::progress::Progress;

/// Load images from an archive or standard input
///
/// Takes what `docker save` writes and OCI image archives, compressed with gzip or zstd or not at all. Every digest is
/// checked, and either all images of the archive are loaded or none.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat load -i nginx.tar
  moat load < nginx.tar.gz
  docker save nginx | moat load
  skopeo copy docker://nginx oci-archive:nginx.tar:nginx:latest && moat load -i nginx.tar")]
pub struct Args {
    /// Read from this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Only the names of what was loaded, no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Loads the archive and prints what was in it.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root.clone())?;
    let loaded = match &args.input {
        Some(path) => {
            let what = format!("cannot load {}", path.display());
            let file = File::open(path).with_context(|| what.clone())?;
            let length =
                file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
            load(&engine, file, length, args.quiet).context(what)?
        }
        None if io::stdin().is_terminal() => bail!("requested load from stdin, but stdin is empty"),
        None => {
            load(&engine, io::stdin().lock(), None, args.quiet).context("cannot load from standard input")?
        }
    };
    loaded.iter().for_each(report);
    Ok(ExitCode::SUCCESS)
}

fn load(
    engine: &Engine,
    archive: impl Read,
    length: Option<u64>,
    quiet: bool,
) -> Result<Vec<Loaded>, EngineError> {
    let template = match length {
        Some(_) => "{msg:24} [{bar:30}] {bytes}/{total_bytes} {eta}",
        None => "{msg:24} {spinner} {bytes}",
    };
    let progress = Progress::new(template, length, quiet);
    let loaded = engine.load(progress.watch(archive), |event| {
        progress.tell(match event {
            LoadEvent::Reading { size, .. } => format!("Loading {}", human::size(size)),
            LoadEvent::Indexing(id) => format!("Indexing {}", id.short()),
            LoadEvent::Saving => "Saving".to_owned(),
        });
    });
    progress.finish();
    loaded
}

/// Docker's words.
fn report(image: &Loaded) {
    for replaced in &image.replaced {
        let (name, id) = (replaced.reference.familiar(), replaced.id);
        say!("The image {name} already exists, renaming the old one with ID {id} to empty string");
    }
    for reference in &image.references {
        say!("Loaded image: {}", reference.familiar());
    }
    if image.references.is_empty() {
        say!("Loaded image ID: {}", image.id);
    }
}
