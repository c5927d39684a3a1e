//! `moat push`.

use std::process::ExitCode;

use moat_engine::image::{PushEvent, PushProgress, PushRequest, Pushed, Reference};
use moat_engine::{Engine, Root};

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
    let name: Reference = args.name.parse()?;
    let engine = Engine::open(root.clone())?;
    let progress = LayerProgress::new(if args.quiet { Place::Nowhere } else { Place::Output });
    let repository = format!("{}/{}", name.registry(), name.repository());
    progress.place().say(&format!("The push refers to repository [{repository}]"));
    let request = PushRequest { name, all_tags: args.all_tags };
    let pushed = engine.push(&request, &|name, event| match event {
        PushProgress::Step(event) => show(&progress, event),
        PushProgress::Done(pushed) => {
            progress.end();
            let (tag, digest, size) = (name.tag().unwrap_or_default(), pushed.digest, pushed.size);
            progress.place().say(&format!("{tag}: digest: {digest} size: {size}"));
            if args.quiet {
                say!("{name}");
            }
        }
    });
    progress.end();
    pushed?;
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
