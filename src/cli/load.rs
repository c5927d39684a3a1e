//! `moat load`.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use moat::engine::events;
use moat::root::Root;
use moat::store::{ImageStore, LoadEvent, Loaded};

use super::human;

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

/// How long a load goes on in silence: most take less.
const PATIENCE: Duration = Duration::from_secs(1);

/// Loads the archive and prints what was in it.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let store = ImageStore::open(root)?;
    let loaded = match &args.input {
        Some(path) => {
            let what = format!("cannot load {}", path.display());
            let file = File::open(path).with_context(|| what.clone())?;
            let length =
                file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
            load(&store, file, length, args.quiet).context(what)?
        }
        None if io::stdin().is_terminal() => bail!("requested load from stdin, but stdin is empty"),
        None => {
            load(&store, io::stdin().lock(), None, args.quiet).context("cannot load from standard input")?
        }
    };
    for image in &loaded {
        let id = image.id.to_string();
        // As with Docker, its name where it has none is its id.
        let name = image.references.first().map_or_else(|| id.clone(), |name| name.familiar());
        events::emit_image(root, "load", &id, &name);
        report(image);
    }
    Ok(ExitCode::SUCCESS)
}

fn load(
    store: &ImageStore,
    archive: impl Read,
    length: Option<u64>,
    quiet: bool,
) -> anyhow::Result<Vec<Loaded>> {
    let progress = Progress::new(length, quiet);
    let loaded = store.load(Watched { archive, progress: &progress }, |event| progress.show(event));
    progress.bar.finish_and_clear();
    Ok(loaded?)
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

/// A bar on a terminal, once it takes a while.
struct Progress {
    bar: ProgressBar,
    start: Instant,
    /// Not shown yet, but to be shown.
    waiting: Cell<bool>,
}

impl Progress {
    fn new(length: Option<u64>, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        let template = match length {
            Some(_) => "{msg:24} [{bar:30}] {bytes}/{total_bytes} {eta}",
            None => "{msg:24} {spinner} {bytes}",
        };
        // What is wrong with a template of ours shows in its looks, not in the load.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self { bar, start: Instant::now(), waiting: Cell::new(!quiet && io::stderr().is_terminal()) }
    }

    fn show(&self, event: LoadEvent<'_>) {
        self.bar.set_message(match event {
            LoadEvent::Reading { size, .. } => format!("Loading {}", human::size(size)),
            LoadEvent::Indexing(id) => format!("Indexing {}", id.short()),
            LoadEvent::Saving => "Saving".to_owned(),
        });
        self.appear();
    }

    fn appear(&self) {
        if self.waiting.get() && self.start.elapsed() > PATIENCE {
            self.waiting.set(false);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// An archive whose reading moves the bar.
struct Watched<'a, R> {
    archive: R,
    progress: &'a Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.archive.read(buffer)?;
        self.progress.bar.inc(n as u64);
        self.progress.appear();
        Ok(n)
    }
}
