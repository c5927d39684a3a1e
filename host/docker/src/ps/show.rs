//! A container as a line of `ps`.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use moat_containers::Container;
use moat_containers::config::ContainerConfig;
use moat_containers::health::HealthStatus;
use moat_containers::state::Status;
use moat_network::endpoint::Attachment;
use serde_json::{Map, Value, json};

use super::Sizes;
use crate::{human, moment, ports};

/// The most characters of a command in a table.
const COMMAND_WIDTH: usize = 20;

/// How the rows of a list are shown.
pub struct Shown {
    /// The time for computing ages.
    pub now: Timestamp,
    /// The time zone of what is printed.
    pub zone: TimeZone,
    /// Whether ids and commands are shown in full.
    pub whole: bool,
}

impl Shown {
    /// A row under Docker's names. `attachment` is the container's place in its networks, if it runs.
    pub fn object(
        &self,
        container: &Container,
        attachment: Option<&Attachment>,
        sizes: Option<Sizes>,
    ) -> Value {
        let config = &container.config;
        let labels: Vec<_> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let methods: Map<String, Value> =
            config.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        json!({
            "ID": if self.whole { config.id.as_str() } else { config.id.short() },
            "Image": human::harmless(&config.image),
            "Command": self.command(&config.process.args),
            "CreatedAt": moment::go(config.created, &self.zone),
            "RunningFor": human::ago(config.created, self.now),
            "Ports": attachment.map(|it| ports::line(&config.exposed_ports, it)).unwrap_or_default(),
            "State": container.state.status.name(),
            "Status": status(container, self.now),
            "Size": size(sizes),
            "Names": config.name,
            "Labels": human::harmless(&labels.join(",")),
            "Label()": methods,
            "Mounts": "",
            "LocalVolumes": "0",
            "Networks": networks(config),
            // Docker's engine says this only where one image serves several platforms.
            "Platform": null,
        })
    }

    /// The command in double quotes. An argument with a blank gets single quotes.
    fn command(&self, words: &[String]) -> String {
        let mut command = words.first().cloned().unwrap_or_default();
        for word in words.iter().skip(1) {
            let _ =
                if word.contains(' ') { write!(command, " '{word}'") } else { write!(command, " {word}") };
        }
        quote(&if self.whole { command } else { human::shorten(&command, COMMAND_WIDTH) })
    }
}

/// The columns' names, one for each field of [`Shown::object`].
pub fn headers() -> Value {
    json!({
        "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
        "Names": "NAMES", "Labels": "LABELS", "Label()": null, "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES",
        "Networks": "NETWORKS", "Platform": "PLATFORM",
    })
}

/// What `--format raw` stands for: a line for each field, and an empty line after each container.
pub fn raw_format(quiet: bool, size: bool) -> String {
    if quiet {
        return "container_id: {{.ID}}".to_owned();
    }
    let size = if size { "size: {{.Size}}\n" } else { "" };
    format!(
        "container_id: {{{{.ID}}}}\nimage: {{{{.Image}}}}\ncommand: {{{{.Command}}}}\ncreated_at: {{{{.CreatedAt}}}}\n\
         state: {{{{.State}}}}\nstatus: {{{{.Status}}}}\nnames: {{{{.Names}}}}\nlabels:{{{{pad .Labels 1 0}}}}\n\
         ports:{{{{pad .Ports 1 0}}}}\n{size}"
    )
}

/// The names of the networks that a container joins.
fn networks(config: &ContainerConfig) -> String {
    let names: Vec<&str> = config.network.networks.iter().map(|join| join.network.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

fn size(sizes: Option<Sizes>) -> String {
    match sizes {
        None => human::size(0),
        Some(Sizes { written, whole: 0 }) => human::size(written),
        Some(Sizes { written, whole }) => {
            format!("{} (virtual {})", human::size(written), human::size(whole))
        }
    }
}

/// The text in double quotes, with Go's escapes for what cannot be printed.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            // Rust and Go agree on what is not printed: directions, joiners, private use.
            c if !c.is_ascii() && c.escape_debug().len() > 1 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Docker's words for the state and the health.
fn status(container: &Container, now: Timestamp) -> String {
    let state = &container.state;
    let up = || format!("Up {}", human::duration(now.duration_since(state.started.unwrap_or(now))));
    let ended = || human::ago(state.finished.unwrap_or(now), now);
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => match state.health.as_ref().map(|health| health.status) {
            None => up(),
            Some(HealthStatus::Starting) => format!("{} (health: starting)", up()),
            Some(status) => format!("{} ({})", up(), status.name()),
        },
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {}", state.exit_code, ended()),
        Status::Exited => format!("Exited ({}) {}", state.exit_code, ended()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;
    use moat_containers::health::Health;
    use moat_containers::testing::container;

    fn shown(whole: bool) -> Shown {
        Shown { now: "2026-01-02T15:09:05Z".parse().unwrap(), zone: TimeZone::UTC, whole }
    }

    #[test]
    fn the_table_is_dockers() {
        let mut one = container();
        one.state.status = Status::Exited;
        one.state.exit_code = 3;
        one.state.finished = Some("2026-01-02T15:08:05Z".parse().unwrap());
        let object = shown(false).object(&one, None, Some(Sizes { written: 12_300_000, whole: 150_000_000 }));
        let list = |format: &str| {
            Template::parse(format).unwrap().list(std::slice::from_ref(&object), &headers()).unwrap()
        };
        assert_eq!(
            list(crate::ps::COLUMNS),
            "CONTAINER ID   IMAGE     COMMAND                    CREATED         STATUS                          PORTS     NAMES\n\
             0123456789ab   busybox   \"sh -c 'echo \\\"hello\\\"\u{2026}\"   5 minutes ago   Exited (3) About a minute ago             web\n"
        );
        assert_eq!(list("{{.Size}}"), "12.3MB (virtual 150MB)\n");
        assert_eq!(list("{{.CreatedAt}}"), "2026-01-02 15:04:05 +0000 UTC\n");
        assert_eq!(list("{{.Labels}} {{.Label \"com.example.team\"}}"), "com.example.team=a,tier=1 a\n");
        assert_eq!(list("table {{.Label \"com.example.my-team\"}}").lines().next(), Some("my team"));
        assert!(!list("json").contains("Label()"));
    }

    #[test]
    fn whole_commands_are_quoted_as_go_does() {
        let object = shown(true).object(&container(), None, None);
        assert_eq!(object["Command"], "\"sh -c 'echo \\\"hello\\\" world'\"");
        assert_eq!(quote("a\n\u{1b}[31m\u{202e}é"), "\"a\\n\\x1b[31m\\u202eé\"");
        assert_eq!(object["Size"], "0B");
    }

    #[test]
    fn every_state_has_its_words() {
        let mut one = container();
        let now = one.config.created;
        let mut says = |status: Status, health: Option<Health>| {
            one.state.status = status;
            one.state.health = health;
            super::status(&one, now)
        };
        assert_eq!(says(Status::Created, None), "Created");
        assert_eq!(says(Status::Running, None), "Up Less than a second");
        assert_eq!(
            says(Status::Running, Some(Health::starting())),
            "Up Less than a second (health: starting)"
        );
        let healthy = Health { status: HealthStatus::Healthy, ..Health::starting() };
        assert_eq!(says(Status::Running, Some(healthy)), "Up Less than a second (healthy)");
        assert_eq!(says(Status::Paused, None), "Up Less than a second (Paused)");
        assert_eq!(says(Status::Restarting, None), "Restarting (0) Less than a second ago");
        assert_eq!(says(Status::Exited, None), "Exited (0) Less than a second ago");
    }
}
