//! `moat events`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat::engine::event_log::EventLog;
use moat::engine::events::{Event, Kind};
use moat::root::Root;
use serde_json::{Value, json};

use super::filter::{Filters, has_label};
use super::template::Template;
use super::{human, moment};

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

const KEYS: [&str; 6] = ["container", "event", "image", "label", "network", "type"];

/// Prints events as they come.
pub fn run(args: &Args, root: &Root) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter, &KEYS)?;
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
    let mut output = io::stdout().lock();
    loop {
        // Asked before reading: what happened until then is all read below.
        let now = Timestamp::now();
        while let Some(event) = log.read().context("cannot read the events")? {
            if args.until.is_some_and(|until| event.time > until) {
                return Ok(ExitCode::SUCCESS);
            }
            if args.since.is_some_and(|since| event.time < since) || !wanted(&filters, &event) {
                continue;
            }
            let line = match &template {
                Some(template) => template.apply(&object(&event))?,
                None if json => as_json(&event).to_string(),
                None => line(&event, &zone),
            };
            writeln!(output, "{line}")?;
        }
        output.flush()?;
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

/// Several values of one key are alternatives, of labels all must be there; several keys must all match.
fn wanted(filters: &Filters, event: &Event) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let named =
        |wanted: &str| attribute("name") == wanted || (!wanted.is_empty() && event.id.starts_with(wanted));
    filters.any("type", |kind| kind == event.kind.name())
        && filters.any("event", |action| {
            // `health_status` stands for `health_status: healthy`, too.
            event.action == action || event.action.split_once(':').is_some_and(|(kind, _)| kind == action)
        })
        && filters
            .any("container", |wanted| event.kind == Kind::Container && named(wanted.trim_start_matches('/')))
        && filters.any("network", |wanted| event.kind == Kind::Network && named(wanted))
        && filters.any("image", |wanted| {
            let is_wanted = |image: &str| image == wanted || without_tag(image) == wanted;
            match event.kind {
                Kind::Container => is_wanted(attribute("image")),
                Kind::Image => is_wanted(&event.id) || is_wanted(attribute("name")),
                Kind::Network => false,
            }
        })
        && filters.values("label").iter().all(|wanted| has_label(wanted, &event.attributes))
}

fn without_tag(image: &str) -> &str {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// Docker's line for people.
fn line(event: &Event, zone: &TimeZone) -> String {
    let attributes: Vec<_> = event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let time = moment::nanoseconds(event.time, zone);
    let (kind, action) = (event.kind.name(), &event.action);
    human::harmless(&format!("{time} {kind} {action} {} ({})", event.id, attributes.join(", ")))
}

/// The names that Go's templates have for an event.
fn object(event: &Event) -> Value {
    json!({
        "Status": event.action,
        "ID": event.id,
        "From": from(event),
        "Type": event.kind.name(),
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "Scope": "local",
        "Time": event.time.as_second(),
        "TimeNano": nanoseconds(event),
    })
}

/// The names that Docker's JSON has for an event.
fn as_json(event: &Event) -> Value {
    json!({
        "status": event.action,
        "id": event.id,
        "from": from(event),
        "Type": event.kind.name(),
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time.as_second(),
        "timeNano": nanoseconds(event),
    })
}

/// The image of the container that it is about.
fn from(event: &Event) -> Option<&String> {
    event.attributes.get("image").filter(|_| event.kind == Kind::Container)
}

fn nanoseconds(event: &Event) -> i64 {
    i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let attributes =
            [("image", "localhost/busybox:1"), ("name", "web"), ("tier", "a"), ("exitCode", "0")];
        Event {
            time: "2026-01-02T14:04:05.5Z".parse().unwrap(),
            kind: Kind::Container,
            action: "health_status: healthy".to_owned(),
            id: "0123456789abcdef".to_owned(),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    fn is_wanted(filters: &[&str], event: &Event) -> bool {
        let texts: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
        wanted(&Filters::parse(&texts, &KEYS).unwrap(), event)
    }

    #[test]
    fn lines_are_dockers() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(
            line(&event(), &zone),
            "2026-01-02T15:04:05.500000000+01:00 container health_status: healthy 0123456789abcdef \
             (exitCode=0, image=localhost/busybox:1, name=web, tier=a)"
        );
        let template =
            Template::parse("{{.Type}} {{.Actor.Attributes.name}} {{.Time}} {{.TimeNano}}").unwrap();
        assert_eq!(
            template.apply(&object(&event())).unwrap(),
            "container web 1767362645 1767362645500000000"
        );
        assert_eq!(as_json(&event())["timeNano"], 1_767_362_645_500_000_000_i64);
    }

    #[test]
    fn filters_choose() {
        for (filters, expected) in [
            (&["event=health_status"][..], true),
            (&["event=start", "event=health_status: healthy"], true),
            (&["event=health"], false),
            (&["container=web"], true),
            (&["container=/web"], true),
            (&["container=0123"], true),
            (&["container=we"], false),
            (&["image=localhost/busybox"], true),
            (&["image=localhost/busybox:1", "type=container"], true),
            (&["image=busybox"], false),
            (&["label=tier=a", "label=name"], true),
            (&["label=tier=b"], false),
            (&["type=image"], false),
            (&["type=image", "type=container"], true),
            (&["network=web"], false),
        ] {
            assert_eq!(is_wanted(filters, &event()), expected, "{filters:?}");
        }
    }

    #[test]
    fn images_and_networks_are_told_apart() {
        let image = Event { kind: Kind::Image, action: "tag".to_owned(), ..event() };
        let image = Event { attributes: [("name".to_owned(), "localhost/x:1".to_owned())].into(), ..image };
        let network = Event { kind: Kind::Network, action: "connect".to_owned(), ..event() };
        for (filters, of_image, of_network) in [
            (&["type=image"][..], true, false),
            (&["type=network"], false, true),
            (&["image=localhost/x"], true, false),
            (&["image=0123456789abcdef"], true, false),
            (&["network=web"], false, true),
            (&["network=0123"], false, true),
            (&["container=web"], false, false),
            (&["image=localhost/busybox"], false, false),
        ] {
            assert_eq!(is_wanted(filters, &image), of_image, "{filters:?}");
            assert_eq!(is_wanted(filters, &network), of_network, "{filters:?}");
        }
        let line = line(&image, &TimeZone::UTC);
        assert!(line.ends_with("Z image tag 0123456789abcdef (name=localhost/x:1)"), "{line}");
        assert_eq!(object(&network)["Type"], "network");
        assert_eq!(as_json(&image)["Type"], "image");
    }
}
