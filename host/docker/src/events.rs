//! Events as `events` prints them.

use jiff::tz::TimeZone;
use moat_records::journal::{Event, Kind};
use serde_json::{Value, json};

use crate::filter::{FilterError, Filters, has_label};
use crate::{human, moment};

const KEYS: [&str; 6] = ["container", "event", "image", "label", "network", "type"];

/// Which events are printed. An event must match every key. It matches a key when it matches one of the values; of
/// labels, all.
#[derive(Debug)]
pub struct Selection(Filters);

impl Selection {
    /// Reads the values of `--filter`.
    ///
    /// # Errors
    /// When a filter is malformed or has an unknown key.
    pub fn parse(filters: &[String]) -> Result<Self, FilterError> {
        Filters::parse(filters, &KEYS).map(Self)
    }

    /// Whether an event is printed.
    pub fn takes(&self, event: &Event) -> bool {
        let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
        let named = |wanted: &str| {
            attribute("name") == wanted || (!wanted.is_empty() && event.id.starts_with(wanted))
        };
        self.0.any("type", |kind| kind == event.kind.name())
            && self.0.any("event", |action| {
                // `health_status` also matches `health_status: healthy`.
                event.action == action || event.action.split_once(':').is_some_and(|(kind, _)| kind == action)
            })
            && self.0.any("container", |wanted| {
                event.kind == Kind::Container && named(wanted.trim_start_matches('/'))
            })
            && self.0.any("network", |wanted| event.kind == Kind::Network && named(wanted))
            && self.0.any("image", |wanted| {
                let is_wanted = |image: &str| image == wanted || without_tag(image) == wanted;
                match event.kind {
                    Kind::Container => is_wanted(attribute("image")),
                    Kind::Image => is_wanted(&event.id) || is_wanted(attribute("name")),
                    Kind::Network => false,
                }
            })
            && self.0.values("label").iter().all(|wanted| has_label(wanted, &event.attributes))
    }
}

fn without_tag(image: &str) -> &str {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// Docker's line of text.
pub fn line(event: &Event, zone: &TimeZone) -> String {
    let attributes: Vec<_> = event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let time = moment::nanoseconds(event.time, zone);
    let (kind, action) = (event.kind.name(), &event.action);
    human::harmless(&format!("{time} {kind} {action} {} ({})", event.id, attributes.join(", ")))
}

/// An event under the names of templates.
pub fn object(event: &Event) -> Value {
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

/// An event under the names of Docker's JSON.
pub fn as_json(event: &Event) -> Value {
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

/// The image of the event's container.
fn from(event: &Event) -> Option<&String> {
    event.attributes.get("image").filter(|_| event.kind == Kind::Container)
}

fn nanoseconds(event: &Event) -> i64 {
    i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

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
        Selection::parse(&texts).unwrap().takes(event)
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
