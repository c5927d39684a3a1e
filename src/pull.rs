//! `moat pull`, and the pull that `run` and `create` begin with.

use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use moat_engine::image::{
    Arrival, EnsureRequest, Image, Platform, PullEvent, PullPolicy, PullProgress, PullRequest, Reference,
    WantedLayer,
};
use moat_engine::{Engine, Root};

use super::layer_progress::{LayerProgress, Place};

/// Download an image from a registry
///
/// Every byte is checked against its digest. Layers that are here are not fetched again, and an interrupted pull is
/// continued from where it stopped. How registries are reached (mirrors, proxies, certificates) stands in
/// /etc/moat/registries.json, or where MOAT_REGISTRIES says.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat pull ubuntu
  moat pull ubuntu:24.04
  moat pull ghcr.io/someone/app@sha256:...
  moat pull --platform linux/arm64 alpine
  moat pull -a localhost:5000/app")]
pub struct Args {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Only the name of what was pulled
    #[arg(short, long)]
    quiet: bool,
    /// The image for this platform (OS/ARCHITECTURE[/VARIANT])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// NAME, NAME:TAG or NAME@DIGEST
    #[arg(value_name = "NAME")]
    name: String,
}

/// When `run` and `create` pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    /// Even if the image is here
    Always,
    /// If the image is not here
    Missing,
    /// Not at all
    Never,
}

impl From<When> for PullPolicy {
    fn from(when: When) -> Self {
        match when {
            When::Always => Self::Always,
            When::Missing => Self::Missing,
            When::Never => Self::Never,
        }
    }
}

/// How `run` and `create` get their image.
#[derive(clap::Args)]
pub struct PullArgs {
    /// Pull the image before running
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pull: When,
    /// Say nothing about the pull
    #[arg(short, long)]
    quiet: bool,
    /// The image for this platform (OS/ARCHITECTURE[/VARIANT])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

/// Pulls and prints what was pulled.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let name: Reference = args.name.parse()?;
    let platform = args.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let engine = Engine::open(root.clone())?;
    let progress = LayerProgress::new(if args.quiet { Place::Nowhere } else { Place::Output });
    let has_tag =
        args.name.contains('@') || args.name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if args.all_tags && has_tag {
        bail!("tag can't be used with --all-tags/-a");
    }
    if !args.all_tags && !has_tag {
        progress.place().say("Using default tag: latest");
    }
    let request = PullRequest { name: name.clone(), platform, all_tags: args.all_tags };
    let pulled = engine.pull(&request, &|name, event| show(&progress, name, event));
    progress.end();
    pulled?;
    if args.all_tags {
        say!("{}/{}", name.registry(), name.repository());
    } else {
        say!("{name}");
    }
    Ok(ExitCode::SUCCESS)
}

impl PullArgs {
    /// The image `name`, pulled if that is wanted.
    pub fn ensure(&self, name: &str, engine: &Engine) -> anyhow::Result<Image> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose()?;
        let progress = LayerProgress::new(if self.quiet { Place::Nowhere } else { Place::Error });
        let request = EnsureRequest { image: name, policy: self.pull.into(), platform };
        let image = engine.ensure(&request, &|name, event| show(&progress, name, event));
        progress.end();
        Ok(image?)
    }
}

/// Tells how a pull gets on, in Docker's words.
fn show(progress: &LayerProgress, name: &Reference, event: PullProgress<'_>) {
    let place = progress.place();
    let begin = || {
        let tag = name.tag().filter(|_| name.digest().is_none());
        let what = tag.map_or_else(|| name.to_string(), str::to_owned);
        place.say(&format!("{what}: Pulling from {}", name.repository()));
    };
    match event {
        PullProgress::Missing => eprintln!("Unable to find image '{}' locally", name.familiar()),
        PullProgress::Step(PullEvent::Layers(layers)) => {
            begin();
            let short = |layer: &WantedLayer| layer.digest.hex()[..12].to_owned();
            progress.begin(layers.iter().map(|layer| (short(layer), layer.size)), "Pulling fs layer");
        }
        PullProgress::Step(PullEvent::Layer(layer, arrival)) => match arrival {
            Arrival::Present => progress.state(layer, "Already exists"),
            Arrival::Waiting => progress.state(layer, "Waiting for another pull"),
            Arrival::Received(bytes) => progress.position(layer, bytes, "Downloading"),
            Arrival::Complete => progress.state(layer, "Pull complete"),
        },
        PullProgress::Step(PullEvent::Indexing) => {}
        PullProgress::Done(pulled) => {
            progress.end();
            if !pulled.is_new {
                begin();
            }
            place.say(&format!("Digest: {}", pulled.digest));
            let news = if pulled.is_new { "Downloaded newer image" } else { "Image is up to date" };
            place.say(&format!("Status: {news} for {}", name.familiar()));
        }
    }
}
