//! `moat system df`.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use moat::engine::Engine;
use moat::engine::container::Container;
use moat::root::Root;
use moat::store::{Image, ImageUsage, Usage};
use serde_json::{Value, json};

use crate::cli::human;
use crate::cli::ps::show::{self as ps, Shown};
use crate::cli::template::Template;

/// Show what images and containers take on the disk
///
/// What images share counts once. The fields for --format are .Type .TotalCount .Active .Size .Reclaimable.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat system df
  moat system df -v
  moat system df --format json")]
pub struct Args {
    /// Each image and each container
    #[arg(short, long)]
    verbose: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
}

const SUMMARY: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const IMAGES: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t\
     {{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t\
     {{.Status}}\t{{.Names}}";

/// Counts, and prints a table or two.
pub fn run(args: &Args, root: Root) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(root)?;
    let (images, containers) = (engine.store().list()?, engine.containers()?);
    let usage = engine.store().usage()?;
    let mut output = io::stdout().lock();
    if !args.verbose {
        let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(SUMMARY);
        let lines = summary(&engine, &images, &containers, &usage);
        output.write_all(Template::parse(format)?.list(&lines, &headers())?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let lines: Vec<Value> = images.iter().map(|image| image_line(image, &containers, &usage, now)).collect();
    writeln!(output, "Images space usage:\n")?;
    output.write_all(Template::parse(IMAGES)?.list(&lines, &headers())?.as_bytes())?;
    // As `ps` shows them.
    let shown = Shown::now(false);
    let line = |container: &Container| shown.object(container, None, Some((engine.written(container), 0)));
    let lines: Vec<Value> = containers.iter().map(line).collect();
    writeln!(output, "\nContainers space usage:\n")?;
    output.write_all(Template::parse(CONTAINERS)?.list(&lines, &ps::headers())?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn summary(engine: &Engine, images: &[Image], containers: &[Container], usage: &Usage) -> Vec<Value> {
    let used = |image: &Image| users(image, containers) > 0;
    // What a removal of the unused images would leave is what the used ones need.
    let kept = usage.together(images.iter().filter(|image| used(image)).map(|image| &image.id));
    let total = usage.total + usage.abandoned;
    let written = |live: bool| -> u64 {
        let some = containers.iter().filter(|container| container.state.status.is_live() == live);
        some.map(|container| engine.written(container)).sum()
    };
    let (live, dead) = (written(true), written(false));
    let running = containers.iter().filter(|container| container.state.status.is_live()).count();
    let line = |kind: &str, count: usize, active: usize, size: u64, reclaimable: u64| {
        let share =
            (reclaimable * 100).checked_div(size).map_or_else(String::new, |share| format!(" ({share}%)"));
        json!({
            "Type": kind,
            "TotalCount": count.to_string(),
            "Active": active.to_string(),
            "Size": human::size(size),
            "Reclaimable": human::size(reclaimable) + &share,
        })
    };
    let active = images.iter().filter(|image| used(image)).count();
    vec![
        line("Images", images.len(), active, total, total - kept),
        line("Containers", containers.len(), running, live + dead, dead),
    ]
}

fn image_line(image: &Image, containers: &[Container], usage: &Usage, now: Timestamp) -> Value {
    let none = || "<none>".to_owned();
    let name = image.references.first();
    let ImageUsage { shared, unique } = usage.images.get(&image.id).copied().unwrap_or_default();
    json!({
        "Repository": name.map_or_else(none, |name| name.familiar_name()),
        "Tag": name.and_then(|name| name.tag()).map_or_else(none, str::to_owned),
        "ID": image.id.short(),
        "CreatedSince": image.created().map_or_else(|| "N/A".to_owned(), |created| human::ago(created, now)),
        "Size": human::size(shared + unique),
        "SharedSize": human::size(shared),
        "UniqueSize": human::size(unique),
        "Containers": users(image, containers).to_string(),
    })
}

fn users(image: &Image, containers: &[Container]) -> usize {
    let id = image.id.to_string();
    containers.iter().filter(|container| container.config.image_id == id).count()
}

fn headers() -> Value {
    json!({
        "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
        "Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED",
        "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
    })
}
