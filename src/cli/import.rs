//! `moat import`.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use moat::engine::events;
use moat::image_config::{self, Change, Step};
use moat::root::Root;
use moat::store::{ImageStore, Reference};

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
    if args.name.as_ref().is_some_and(|name| name.digest().is_some()) {
        bail!("refusing to create a tag with a digest reference");
    }
    let store = ImageStore::open(root)?;
    let config = image_config::changed(serde_json::Map::new(), &args.change)?;
    let what = || format!("cannot import {}", args.source.display());
    let layer = if args.source.as_os_str() == "-" {
        store.stage_archive(io::stdin().lock()).with_context(what)?
    } else {
        store.stage_archive(File::open(&args.source).with_context(what)?).with_context(what)?
    };
    let step = Step {
        created: jiff::Timestamp::now(),
        created_by: String::new(),
        author: String::new(),
        comment: args.message.unwrap_or_else(|| format!("Imported from {}", args.source.display())),
    };
    let document = image_config::with_layer(image_config::empty(), config, &layer.digest(), &step);
    let id = store.add_image(None, layer, &document, args.name.as_slice()).with_context(what)?.id.to_string();
    events::emit_image(root, "import", &id, &args.name.map_or_else(|| id.clone(), |name| name.familiar()));
    say!("{id}");
    Ok(ExitCode::SUCCESS)
}
