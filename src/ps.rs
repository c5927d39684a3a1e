//! `moat ps`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_docker::ps::{COLUMNS, Facts, Selection, Shown, Sizes, descendants, headers, raw_format};
use moat_docker::template::{Template, TemplateError};
use moat_engine::Container;
use moat_engine::Engine;
use moat_engine::Root;
use moat_engine::endpoint::Attachment;
use serde_json::Value;

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
publish, expose, volume and is-task.")]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Only the N that were created last, running or not
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "-1",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    last: i64,
    /// Only the one that was created last, running or not
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

/// Prints the containers, the newest first.
pub fn run(args: Args, root: Root) -> anyhow::Result<ExitCode> {
    let limit = if args.latest { 1 } else { args.last };
    let limit = usize::try_from(limit).ok().filter(|&limit| limit > 0);
    let selection = Selection::parse(&args.filter, args.all, limit)?;
    let template = args.template()?;
    let engine = Engine::open(root)?;
    let containers = engine.list()?;
    let facts = facts(&engine, &selection, &containers)?;
    let containers = selection.select(containers, &facts);
    let Some(template) = template else {
        let ids = containers.iter().fold(String::new(), |text, container| {
            text + (if args.no_trunc { container.id().as_str() } else { container.id().short() }) + "\n"
        });
        io::stdout().write_all(ids.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let images = if args.wants_sizes() { Some(image_sizes(&engine, &containers)?) } else { None };
    let shown = Shown { now: Timestamp::now(), zone: TimeZone::system(), whole: args.no_trunc };
    let objects: Vec<Value> = containers
        .iter()
        .map(|container| {
            let sizes = images.as_ref().map(|images| {
                let written = engine.written(container);
                let image = images.get(container.config.image_id.as_str()).copied().unwrap_or(0);
                Sizes { written, whole: written + image }
            });
            let attachment = attachment(&engine, container);
            shown.object(container, attachment.as_ref(), sizes)
        })
        .collect();
    crate::shown::write(&template.list(&objects, &headers())?)?;
    Ok(ExitCode::SUCCESS)
}

/// What a selection asks for.
fn facts(engine: &Engine, selection: &Selection, containers: &[Container]) -> anyhow::Result<Facts> {
    let moments = |names: &[String]| -> anyhow::Result<Vec<Timestamp>> {
        names.iter().map(|name| Ok(engine.find(name)?.config.created)).collect()
    };
    let images = if selection.ancestors().is_empty() {
        None
    } else {
        // An image that is not there has no containers, and that is no mistake.
        let ancestors = selection.ancestors().iter().flat_map(|name| engine.store().resolve(name));
        Some(descendants(&engine.store().list()?, &ancestors.collect::<Vec<_>>()))
    };
    Ok(Facts {
        before: moments(selection.before())?,
        since: moments(selection.since())?,
        images,
        networks: if selection.asks_for_networks() { engine.networks().list()? } else { Vec::new() },
        attachments: if selection.asks_for_ports() {
            containers.iter().filter_map(|container| attachment(engine, container)).collect()
        } else {
            Vec::new()
        },
    })
}

/// A container's place in its networks. What cannot be read is not shown.
fn attachment(engine: &Engine, container: &Container) -> Option<Attachment> {
    engine.attachment(container).ok().flatten()
}

impl Args {
    /// How each container is printed; nothing when only the ids are.
    fn template(&self) -> Result<Option<Template>, TemplateError> {
        let size = if self.size { "\t{{.Size}}" } else { "" };
        match self.format.as_deref() {
            None | Some("table") if self.quiet => Ok(None),
            None | Some("table") => Template::parse(&format!("{COLUMNS}{size}")).map(Some),
            Some("raw") => Template::parse(&raw_format(self.quiet, self.size)).map(Some),
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
