//! `moat pull`, and the pull that `run` and `create` begin with.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use moat::engine::events;
use moat::registry::{self, Config, Credentials, Outcome, Platform, PullEvent};
use moat::root::Root;
use moat::store::{Arrival, ImageStore, Reference, StoreError};

use super::layer_progress::{LayerProgress, Place};

/// Download an image from a registry
///
/// Every byte is checked against its digest. Layers that are here are not fetched again, and what an interrupted pull
/// left is gone on with. How registries are reached (mirrors, proxies, certificates) stands in
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
pub enum Policy {
    /// Even if the image is here
    Always,
    /// If the image is not here
    Missing,
    /// Not at all
    Never,
}

/// How `run` and `create` get their image.
#[derive(clap::Args)]
pub struct Missing {
    /// Pull the image before running
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pull: Policy,
    /// Say nothing about the pull
    #[arg(short, long)]
    quiet: bool,
    /// The image for this platform (OS/ARCHITECTURE[/VARIANT])
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

/// Pulls and prints what was pulled.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let reference: Reference = args.name.parse()?;
    let platform = args.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let store = ImageStore::open(root)?;
    let puller =
        Puller::new(root, &store, platform, if args.quiet { Place::Nowhere } else { Place::Output })?;
    let has_tag =
        args.name.contains('@') || args.name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if !args.all_tags {
        if !has_tag {
            puller.place.say("Using default tag: latest");
        }
        puller.pull(&reference)?;
        say!("{reference}");
        return Ok(ExitCode::SUCCESS);
    }
    if has_tag {
        bail!("tag can't be used with --all-tags/-a");
    }
    let tags = registry::tags(&puller.config, &puller.credentials, &reference)?;
    if tags.is_empty() {
        bail!("{} has no tags", reference.familiar_name());
    }
    for tag in tags {
        puller.pull(&reference.with_tag(&tag)?)?;
    }
    say!("{}/{}", reference.registry(), reference.repository());
    Ok(ExitCode::SUCCESS)
}

impl Missing {
    /// Sees to it that the image `name` is here, as far as a pull can.
    pub fn provide(&self, name: &str, root: &Root) -> anyhow::Result<()> {
        if self.pull == Policy::Never {
            return Ok(());
        }
        let store = ImageStore::open(root)?;
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose()?;
        if self.pull == Policy::Missing {
            match store.resolve(name) {
                Err(StoreError::NoSuchImage(_)) => {}
                Ok(image) => {
                    let here = image.platform().parse::<Platform>();
                    let will_do = |wanted: &Platform| here.is_ok_and(|here| wanted.takes(&here));
                    if platform.as_ref().is_none_or(will_do) {
                        return Ok(());
                    }
                }
                // Whoever uses the image says what is wrong with it.
                Err(_) => return Ok(()),
            }
        }
        // An id is the name of nothing in a registry.
        let Ok(reference) = name.parse::<Reference>() else { return Ok(()) };
        if self.pull == Policy::Missing {
            eprintln!("Unable to find image '{}' locally", reference.familiar());
        }
        let puller =
            Puller::new(root, &store, platform, if self.quiet { Place::Nowhere } else { Place::Error })?;
        puller.pull(&reference).map(drop)
    }
}

struct Puller<'a> {
    root: &'a Root,
    store: &'a ImageStore,
    config: Config,
    credentials: Credentials,
    platform: Option<Platform>,
    place: Place,
}

impl<'a> Puller<'a> {
    fn new(
        root: &'a Root,
        store: &'a ImageStore,
        platform: Option<Platform>,
        place: Place,
    ) -> anyhow::Result<Self> {
        let (config, credentials) = (Config::read()?, Credentials::read()?);
        Ok(Self { root, store, config, credentials, platform, place })
    }

    /// Pulls one image, in Docker's words.
    fn pull(&self, reference: &Reference) -> anyhow::Result<Outcome> {
        let what = reference.tag().filter(|_| reference.digest().is_none());
        let what = what.map_or_else(|| reference.to_string(), str::to_owned);
        let progress = LayerProgress::new(self.place);
        let begin = || self.place.say(&format!("{what}: Pulling from {}", reference.repository()));
        let seen = |event: PullEvent<'_>| show(&progress, event, &begin);
        let platform = self.platform.as_ref();
        let outcome = registry::pull(self.store, &self.config, &self.credentials, reference, platform, &seen);
        progress.end();
        let outcome = outcome.with_context(|| format!("cannot pull {}", reference.familiar()))?;
        events::emit_image(self.root, "pull", &reference.familiar(), &reference.familiar_name());
        if outcome.loaded.is_none() {
            begin();
        }
        self.place.say(&format!("Digest: {}", outcome.digest));
        let news = if outcome.loaded.is_some() { "Downloaded newer image" } else { "Image is up to date" };
        self.place.say(&format!("Status: {news} for {}", reference.familiar()));
        Ok(outcome)
    }
}

fn show(progress: &LayerProgress, event: PullEvent<'_>, begin: &dyn Fn()) {
    match event {
        PullEvent::Layers(layers) => {
            begin();
            let short = |layer: &moat::store::WantedLayer| layer.digest.hex()[..12].to_owned();
            progress.begin(layers.iter().map(|layer| (short(layer), layer.size)), "Pulling fs layer");
        }
        PullEvent::Layer(layer, Arrival::Present) => progress.state(layer, "Already exists"),
        PullEvent::Layer(layer, Arrival::Waiting) => progress.state(layer, "Waiting for another pull"),
        PullEvent::Layer(layer, Arrival::Received(bytes)) => progress.position(layer, bytes, "Downloading"),
        PullEvent::Layer(layer, Arrival::Complete) => progress.state(layer, "Pull complete"),
        PullEvent::Indexing => {}
    }
}
