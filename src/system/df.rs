//! `moat system df`.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_docker::ps::{self, Shown, Sizes};
use moat_engine::{ContainerSpace, DiskUsage, Engine, ImageSpace, Root, Space};
use serde_json::{Value, json};

use crate::human;
use crate::template::Template;

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
    let usage = Engine::open(root)?.disk_usage()?;
    let mut output = io::stdout().lock();
    if !args.verbose {
        let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(SUMMARY);
        output.write_all(Template::parse(format)?.list(&summary(&usage), &headers())?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let lines: Vec<Value> = usage.images.iter().map(|one| image_line(one, now)).collect();
    writeln!(output, "Images space usage:\n")?;
    output.write_all(Template::parse(IMAGES)?.list(&lines, &headers())?.as_bytes())?;
    // As `ps` shows them.
    let shown = Shown { now, zone: TimeZone::system(), whole: false };
    let line = |one: &ContainerSpace| {
        shown.object(&one.container, None, Some(Sizes { written: one.written, whole: 0 }))
    };
    let lines: Vec<Value> = usage.containers.iter().map(line).collect();
    writeln!(output, "\nContainers space usage:\n")?;
    output.write_all(Template::parse(CONTAINERS)?.list(&lines, &ps::headers())?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn summary(usage: &DiskUsage) -> Vec<Value> {
    let line = |kind: &str, space: Space| {
        let share = space.reclaimable.saturating_mul(100).checked_div(space.bytes);
        let share = share.map_or_else(String::new, |share| format!(" ({share}%)"));
        json!({
            "Type": kind,
            "TotalCount": space.count.to_string(),
            "Active": space.active.to_string(),
            "Size": human::size(space.bytes),
            "Reclaimable": human::size(space.reclaimable) + &share,
        })
    };
    // Docker's rows for what Moat does not have yet: scripts count lines.
    let none = Space::default();
    vec![
        line("Images", usage.all_images),
        line("Containers", usage.all_containers),
        line("Local Volumes", none),
        line("Build Cache", none),
    ]
}

fn image_line(ImageSpace { image, usage, containers }: &ImageSpace, now: Timestamp) -> Value {
    let none = || "<none>".to_owned();
    let name = image.references.first();
    json!({
        "Repository": name.map_or_else(none, |name| name.familiar_name()),
        "Tag": name.and_then(|name| name.tag()).map_or_else(none, str::to_owned),
        "ID": image.id.short(),
        "CreatedSince": image.created().map_or_else(|| "N/A".to_owned(), |created| human::ago(created, now)),
        "Size": human::size(usage.shared + usage.unique),
        "SharedSize": human::size(usage.shared),
        "UniqueSize": human::size(usage.unique),
        "Containers": containers.to_string(),
    })
}

fn headers() -> Value {
    json!({
        "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
        "Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED",
        "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
    })
}
