//! What happened to containers, one line of JSON after the other: `ROOT/events`, and `ROOT/events.1` before it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::container::Container;
use crate::record::Lock;
use crate::root::Root;

/// How large the file grows before a new one is begun, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What: Docker's words, such as `start` or `die`.
    pub action: String,
    /// The container's id.
    pub id: String,
    /// Its name, its image, its labels, and what belongs to the action.
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
    let event = Event {
        time: Timestamp::now(),
        action: action.to_owned(),
        id: container.id().to_string(),
        attributes: all,
    };
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
