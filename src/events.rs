//! `moat events`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_docker::events::{Selection, as_json, line, object};
use moat_docker::json::harmless;
use moat_docker::template::Template;
use moat_engine::Root;
use moat_engine::journal::reader::EventLog;
use moat_engine::journal::{Event, Kind};

use super::{moment, shown};

/// Show what happens to containers, images and networks
///
/// Without --since only what happens from now on. The fields for --format are .Time .TimeNano .Type .Action .Status .ID
/// .From .Scope .Actor.ID .Actor.Attributes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat events
  moat events --since 10m --until 0m
  moat events --filter container=web --filter event=die
  moat events --filter type=image --filter type=network
  moat events --format '{{.Action}} {{.Actor.Attributes.name}}'

The keys for --filter are container, event, image, label, network and type.")]
pub struct Args {
    /// Begin with what happened at this time, or so long ago
    #[arg(long, value_name = "TIME", value_parser = moment::parse_moment)]
    since: Option<Timestamp>,
    /// End at this time
    #[arg(long, value_name = "TIME", value_parser = moment::parse_moment, allow_hyphen_values = true)]
    until: Option<Timestamp>,
    /// Only those with KEY=VALUE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// A Go template for each, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints events as they come.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let selection = Selection::parse(&args.filter)?;
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let json = matches!(format, Some("json" | "{{json .}}" | "{{ json . }}"));
    let template = format.filter(|_| !json).map(Template::parse).transpose()?;
    if let Some(template) = &template {
        // A field that does not exist is told at once, not when something happens.
        let nothing = Event {
            time: Timestamp::UNIX_EPOCH,
            kind: Kind::Container,
            action: String::new(),
            id: String::new(),
            attributes: [].into(),
        };
        template.apply(&object(&nothing))?;
    }
    let zone = TimeZone::system();
    let log = if args.since.is_some() { EventLog::from_the_start(root) } else { EventLog::from_now_on(root) };
    let mut log = log.context("cannot follow the events")?;
    loop {
        // Asked before reading: what happened until then is all read below.
        let now = Timestamp::now();
        while let Some(event) = log.read().context("cannot read the events")? {
            if args.until.is_some_and(|until| event.time > until) {
                return Ok(ExitCode::SUCCESS);
            }
            if args.since.is_some_and(|since| event.time < since) || !selection.takes(&event) {
                continue;
            }
            let line = match &template {
                Some(template) => template.apply(&object(&event))?,
                None if json => harmless(&as_json(&event).to_string()),
                None => line(&event, &zone),
            };
            shown::write(&(line + "\n"))?;
        }
        match args.until {
            Some(until) if now >= until => return Ok(ExitCode::SUCCESS),
            until => {
                let left =
                    until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
                log.wait(left).context("cannot follow the events")?;
            }
        }
    }
}
