//! `moat push`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use moat::engine::events;
use moat::registry::{self, Client, Config, Credentials, PushEvent, Pushed};
use moat::root::Root;
use moat::store::{Image, ImageStore, Reference, StoreError};

use super::layer_progress::{LayerProgress, Place};

/// Upload an image to a registry
///
/// What was pulled goes out byte for byte as it came, with the same digest. Layers that the registry has are not sent.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat push localhost:5000/app:1
  moat push -a registry.example/team/app
  moat tag app ghcr.io/someone/app:1 && moat push ghcr.io/someone/app:1")]
pub struct Args {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Only the name of what was pushed
    #[arg(short, long)]
    quiet: bool,
    /// NAME or NAME:TAG
    #[arg(value_name = "NAME")]
    name: String,
}

/// Pushes and prints what the registry has now.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let reference: Reference = args.name.parse()?;
    let store = ImageStore::open(root)?;
    let images = store.list()?;
    let ours = |name: &Reference| {
        if args.all_tags {
            name.is_same_repository(&reference) && name.tag().is_some()
        } else {
            *name == reference
        }
    };
    let named =
        |image: &Image| image.references.iter().filter(|name| ours(name)).cloned().collect::<Vec<_>>();
    let mut wanted: Vec<(Reference, &Image)> =
        images.iter().flat_map(|image| named(image).into_iter().map(move |name| (name, image))).collect();
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    let place = if args.quiet { Place::Nowhere } else { Place::Output };
    place.say(&format!(
        "The push refers to repository [{}/{}]",
        reference.registry(),
        reference.repository()
    ));
    if wanted.is_empty() {
        if store.resolve(&args.name).is_ok() && reference.digest().is_some() {
            bail!("cannot push a digest reference");
        }
        // The image's own damage says more than that it is not there.
        match store.resolve(&args.name) {
            Err(e) if !matches!(e, StoreError::NoSuchImage(_)) => return Err(e.into()),
            _ => bail!("An image does not exist locally with the tag: {}", reference.familiar_name()),
        }
    }
    let login = Credentials::read()?.get(reference.registry())?;
    let client = Client::connect(reference.registry(), &Config::read()?, login)?;
    for (name, image) in &wanted {
        let progress = LayerProgress::new(place);
        let pushed = registry::push(&store, &client, image, name, &|event| show(&progress, event));
        progress.end();
        let (digest, size) = pushed.with_context(|| format!("cannot push {}", name.familiar()))?;
        events::emit_image(root, "push", &name.familiar(), &name.familiar_name());
        place.say(&format!("{}: digest: {digest} size: {size}", name.tag().unwrap_or_default()));
        if args.quiet {
            say!("{name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(progress: &LayerProgress, event: PushEvent<'_>) {
    match event {
        // Which layer that is has no digest yet.
        PushEvent::Compressing(_) => {}
        PushEvent::Layers(layers) => {
            let layers = layers.iter().map(|layer| (layer.digest.hex()[..12].to_owned(), layer.size));
            progress.begin(layers, "Preparing");
        }
        PushEvent::Sent(layer, bytes) => progress.position(layer, bytes, "Pushing"),
        PushEvent::Done(layer, Pushed::Sent) => progress.state(layer, "Pushed"),
        PushEvent::Done(layer, Pushed::Present) => progress.state(layer, "Layer already exists"),
        PushEvent::Done(layer, Pushed::Mounted(from)) => {
            progress.tell(layer, "Mounted", &format!("Mounted from {from}"));
        }
    }
}
