//! What happened to containers, images and networks, one line of JSON after the other: `ROOT/events`, and
//! `ROOT/events.1` before it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::container::Container;
use super::id::ContainerId;
use super::state::State;
use crate::network::record::NetworkId;
use crate::record::Lock;
use crate::root::Root;

/// How large the file grows before a new one is begun, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// What something happened to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    #[default]
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
}

impl Kind {
    /// Docker's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To what.
    #[serde(default)]
    pub kind: Kind,
    /// What: Docker's words, such as `start` or `die`.
    pub action: String,
    /// The container's or network's id; the image's id, or its name where it came from a registry or went to one.
    pub id: String,
    /// Its name, a container's image and labels, and what belongs to the action.
    pub attributes: BTreeMap<String, String>,
}

/// Where events are written.
pub fn path(root: &Root) -> PathBuf {
    root.path().join("events")
}

/// Where older ones are.
pub fn older_path(root: &Root) -> PathBuf {
    root.path().join("events.1")
}

/// Writes down what happened to `container`. That it cannot be written is no reason to fail what happened.
pub fn emit(root: &Root, container: &Container, action: &str, attributes: &[(&str, String)]) {
    let mut all = container.config.labels.clone();
    all.insert("image".to_owned(), container.config.image.clone());
    all.insert("name".to_owned(), container.config.name.clone());
    all.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    write_down(root, Kind::Container, action, container.id().as_str(), all);
}

/// Writes down how a container's process ended, which `state` tells.
pub fn emit_die(root: &Root, container: &Container, state: &State) {
    let lasted = state.started.zip(state.finished).map_or(0, |(from, to)| to.duration_since(from).as_secs());
    let attributes = [("exitCode", state.exit_code.to_string()), ("execDuration", lasted.max(0).to_string())];
    emit(root, container, "die", &attributes);
}

/// Writes down what happened to the image `id`, as [`emit`] does.
pub fn emit_image(root: &Root, action: &str, id: &str, name: &str) {
    write_down(root, Kind::Image, action, id, [("name".to_owned(), name.to_owned())].into());
}

/// Writes down what happened to a network, as [`emit`] does; `container` is who came or left.
pub fn emit_network(
    root: &Root,
    action: &str,
    network: &NetworkId,
    name: &str,
    container: Option<&ContainerId>,
) {
    let mut attributes: BTreeMap<String, String> =
        [("name", name), ("type", "bridge")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    attributes.extend(container.map(|id| ("container".to_owned(), id.to_string())));
    write_down(root, Kind::Network, action, network.as_str(), attributes);
}

fn write_down(root: &Root, kind: Kind, action: &str, id: &str, attributes: BTreeMap<String, String>) {
    let time = Timestamp::now();
    let event = Event { time, kind, action: action.to_owned(), id: id.to_owned(), attributes };
    if let Err(e) = append(root, &event) {
        tracing::warn!("cannot write down the event {action}: {e}");
    }
}

fn append(root: &Root, event: &Event) -> io::Result<()> {
    let path = path(root);
    // Events come from many processes; their order in the file is that of their times.
    let _lock = Lock::wait(&root.path().join("events.lock")).map_err(io::Error::other)?;
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_FILE) {
        fs::rename(&path, older_path(root))?;
    }
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event_log::EventLog;

    #[test]
    fn events_tell_what_they_are_about() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        // As they were written before there were others than those of containers.
        let old = r#"{"time":"2026-01-02T14:04:05Z","action":"start","id":"1","attributes":{}}"#;
        fs::write(path(&root), format!("{old}\n")).unwrap();
        emit_image(&root, "tag", "sha256:1", "localhost/x:1");
        let network = NetworkId::random().unwrap();
        let container = ContainerId::random().unwrap();
        emit_network(&root, "connect", &network, "shop", Some(&container));
        let mut log = EventLog::from_the_start(&root).unwrap();
        let events: Vec<Event> = std::iter::from_fn(|| log.read().unwrap()).collect();
        let kinds: Vec<Kind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Container, Kind::Image, Kind::Network]);
        assert_eq!(events[1].attributes["name"], "localhost/x:1");
        assert_eq!(events[2].id, network.as_str());
        assert_eq!(events[2].attributes["container"], container.as_str());
    }
}
