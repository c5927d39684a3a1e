//! What happened to containers, images and networks, one line of JSON after the other: `ROOT/events`, and
//! `ROOT/events.1` before it.

pub mod reader;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

/// Something that happened. What a newer release adds to it is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Writes down what happened to `id`. That it cannot be written is no reason to fail what happened.
pub fn write_down(root: &Root, kind: Kind, action: &str, id: &str, attributes: BTreeMap<String, String>) {
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
    use crate::journal::reader::EventLog;

    #[test]
    fn events_tell_what_they_are_about() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        // As they were written before there were others than those of containers.
        let old = r#"{"time":"2026-01-02T14:04:05Z","action":"start","id":"1","attributes":{}}"#;
        fs::write(path(&root), format!("{old}\n")).unwrap();
        let attributes = [("name".to_owned(), "localhost/x:1".to_owned())];
        write_down(&root, Kind::Image, "tag", "sha256:1", attributes.into());
        write_down(&root, Kind::Network, "connect", "2", BTreeMap::new());
        let mut log = EventLog::from_the_start(&root).unwrap();
        let events: Vec<Event> = std::iter::from_fn(|| log.read().unwrap()).collect();
        let kinds: Vec<Kind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Container, Kind::Image, Kind::Network]);
        assert_eq!(events[1].attributes["name"], "localhost/x:1");
        assert_eq!((events[2].id.as_str(), events[2].action.as_str()), ("2", "connect"));
    }
}
