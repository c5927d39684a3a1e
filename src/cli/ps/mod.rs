//! `moat ps`.

mod select;
pub(in crate::cli) mod show;

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;

use moat::engine::Engine;
use moat::engine::container::Container;
use moat::root::Root;
use serde_json::Value;

use self::select::{KEYS, Selection};
use self::show::{Shown, headers};
use super::filter::Filters;
use super::template::Template;

/// List containers
///
/// The fields for --format are .ID .Image .Command .CreatedAt .RunningFor .Ports .State .Status .Size .Names .Labels
/// .Label .Mounts .LocalVolumes .Networks.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat ps
  moat ps -a
  moat ps --filter status=exited --filter label=team=web
  moat ps --format 'table {{.Names}}\\t{{.Status}}'
  moat rm -f $(moat ps -aq)

The keys for --filter are id, name, label, exited, status, ancestor, before, since, health, network,
publish and expose.")]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Only the N that were created last, in whatever state
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "-1",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    last: i64,
    /// Only the one that was created last, in whatever state
    #[arg(short, long)]
    latest: bool,
    /// Show how much each has written
    #[arg(short, long)]
    size: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only those with KEY=VALUE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
}

const COLUMNS: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

/// Prints the containers, the newest first.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter, &KEYS)?;
    let template = args.template()?;
    let engine = Engine::open(root)?;
    let limit = if args.latest { 1 } else { args.last };
    let selection =
        Selection { filters, all: args.all, limit: usize::try_from(limit).ok().filter(|&n| n > 0) };
    let containers = selection.select(&engine, engine.containers()?)?;
    let Some(template) = template else {
        let ids = containers.iter().fold(String::new(), |text, container| {
            text + (if args.no_trunc { container.id().as_str() } else { container.id().short() }) + "\n"
        });
        io::stdout().write_all(ids.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let sizes = if args.wants_sizes() { Some(image_sizes(&engine, &containers)?) } else { None };
    let shown = Shown::now(args.no_trunc);
    let objects: Vec<Value> = containers
        .iter()
        .map(|container| {
            let sizes = sizes.as_ref().map(|sizes| {
                let written = engine.written(container);
                (written, written + sizes.get(container.config.image_id.as_str()).copied().unwrap_or(0))
            });
            let live = container.state.status.is_live();
            let attachment =
                if live { engine.networks().attachment(container.id()).ok().flatten() } else { None };
            shown.object(container, attachment.as_ref(), sizes)
        })
        .collect();
    io::stdout().write_all(template.list(&objects, &headers())?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// How each container is printed; nothing when only the ids are.
    fn template(&self) -> anyhow::Result<Option<Template>> {
        let size = if self.size { "\t{{.Size}}" } else { "" };
        match self.format.as_deref() {
            None | Some("table") if self.quiet => Ok(None),
            None | Some("table") => Template::parse(&format!("{COLUMNS}{size}")).map(Some),
            Some(format) => Template::parse(format).map(Some),
        }
    }

    /// Sizes cost a look at every disk: they are found out only for those who see them.
    fn wants_sizes(&self) -> bool {
        self.size || self.format.as_deref().is_some_and(|format| format.contains(".Size"))
    }
}

/// The size of each image that one of the containers has, by its id.
fn image_sizes(engine: &Engine, containers: &[Container]) -> anyhow::Result<HashMap<String, u64>> {
    if containers.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(engine.store().list()?.iter().map(|image| (image.id.to_string(), image.size())).collect())
}
