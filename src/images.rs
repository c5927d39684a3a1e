//! `moat images`.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use moat_docker::images::{Ages, Selection, default_format, headers, names, object, raw_format};
use moat_docker::template::Template;
use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::image::{Image, Reference};
use serde_json::Value;

use super::image_tree::tree;
use super::moment;

/// List images
///
/// The fields for --format are .Repository .Tag .Digest .ID .CreatedSince .CreatedAt .Size .VirtualSize, and, without
/// an answer here but in 'moat system df -v', .Containers .SharedSize .UniqueSize.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat images
  moat images -q
  moat images 'localhost/*'
  moat images --filter dangling=true
  moat images --format 'table {{.Repository}}\\t{{.Tag}}\\t{{.Size}}'")]
pub struct Args {
    /// For those who know it from Docker; all images are shown anyway
    #[arg(short, long)]
    all: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Show the digests under which images can be pulled
    #[arg(long)]
    digests: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// What belongs to each image, below it
    #[arg(long, conflicts_with_all = ["quiet", "format", "digests", "no_trunc"])]
    tree: bool,
    /// Only those with reference=PATTERN, dangling=true|false, label=KEY[=VALUE], before=IMAGE, since=IMAGE, or until=TIME
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Only those of this REPOSITORY or REPOSITORY:TAG, with `*` and `?` for any characters but `/`, and `[a-z]`
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
}

/// Prints a line for each name of each image.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let selection = Selection::parse(&args.filter, args.pattern.as_deref())?;
    let engine = Engine::open(root.clone())?;
    let mut images = engine.images()?;
    let ages = ages(&engine, &selection)?;
    if args.tree {
        images.retain(|image| names(image).iter().any(|(image, name)| selection.takes(image, *name, &ages)));
        let containers = engine.list()?;
        let is_used = |image: &&Image| {
            let id = image.id.to_string();
            containers.iter().any(|container| container.config.image_id == id)
        };
        let used = images.iter().filter(is_used).map(|image| image.id).collect();
        let text = tree(&images.iter().collect::<Vec<_>>(), &engine.image_usage()?, &used);
        crate::shown::write(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = images.iter().flat_map(names);
    let lines: Vec<(&Image, Option<&Reference>)> =
        names.filter(|(image, name)| selection.takes(image, *name, &ages)).collect();
    let id = |image: &Image| if args.no_trunc { image.id.to_string() } else { image.id.short() };
    let text = match (args.quiet, &args.format) {
        (true, None) => {
            // An id that is listed twice would be removed twice by `rmi $(moat images -q)`.
            let mut seen = HashSet::new();
            let ids =
                lines.iter().filter(|(image, _)| seen.insert(image.id)).map(|(image, _)| id(image) + "\n");
            ids.collect()
        }
        (_, format) => {
            let format = match format.as_deref() {
                None | Some("table") => default_format(args.quiet, args.digests),
                Some("raw") => raw_format(args.quiet, args.digests),
                Some(format) => format,
            };
            let now = Timestamp::now();
            let objects: Vec<Value> =
                lines.iter().map(|(image, name)| object(image, *name, &id(image), now)).collect();
            Template::parse(format)?.list(&objects, &headers())?
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// When the images that the filters name were made.
fn ages(engine: &Engine, selection: &Selection) -> anyhow::Result<Ages> {
    let created = |names: &[String]| -> anyhow::Result<Vec<Option<Timestamp>>> {
        names.iter().map(|name| Ok(engine.image(name)?.created())).collect()
    };
    let until = selection.until().iter().map(|text| {
        let moment = moment::parse_moment(text);
        moment.map(Some).map_err(|e| anyhow::anyhow!("invalid filter 'until={text}': {e}"))
    });
    let mut before = created(selection.before())?;
    before.extend(until.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(Ages { before, since: created(selection.since())? })
}
