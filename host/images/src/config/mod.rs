//! Image configs: how `commit` and `import` write them.
//!
//! A config is handled as the JSON that it is, not as [`oci_spec::image::ImageConfiguration`], so that what Docker writes
//! and the OCI has no field for (health checks, `OnBuild`, `Shell`) survives.

mod change;
mod words;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub use change::{Change, ChangeError, changed};

use crate::store::Digest;

/// What runs lines when an image names no shell, Docker's.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// One line of an image's history.
#[derive(Debug, Clone)]
pub struct Step {
    /// When it was made.
    pub created: Timestamp,
    /// The command that made the layer.
    pub created_by: String,
    /// The author; empty when none is known.
    pub author: String,
    /// A remark; empty for none.
    pub comment: String,
}

/// An image's document with one more layer on top, another `config`, and the line of its history that goes with them.
pub fn with_layer(document: Value, config: Map<String, Value>, layer: &Digest, step: &Step) -> Value {
    let mut document = object(Some(document));
    let time = step.created.to_string();
    document.insert("created".to_owned(), json!(time));
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    set(&mut document, "author", text(&step.author));
    set(&mut document, "comment", text(&step.comment));
    // What older versions of Docker note about the container in which an image was made.
    document.remove("container");
    document.remove("container_config");
    document.insert("config".to_owned(), Value::Object(config));
    let mut layers = strings(document.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")));
    let below = layers.len();
    layers.push(layer.to_string());
    document.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": layers}));
    let mut history = match document.get("history") {
        Some(Value::Array(history)) => history.clone(),
        _ => Vec::new(),
    };
    // There is a line for each layer, or there are none: an image that has too few gets blank ones.
    let is_layer = |line: &&Value| line.get("empty_layer") != Some(&Value::Bool(true));
    let known = history.iter().filter(is_layer).count();
    history.extend(std::iter::repeat_n(json!({}), below.saturating_sub(known)));
    let mut line = object(None);
    line.insert("created".to_owned(), json!(time));
    line.insert("created_by".to_owned(), json!(step.created_by));
    set(&mut line, "author", text(&step.author));
    set(&mut line, "comment", text(&step.comment));
    history.push(Value::Object(line));
    document.insert("history".to_owned(), Value::Array(history));
    Value::Object(document)
}

/// The document of an image without any layer, for this machine.
pub fn empty() -> Value {
    json!({"architecture": "amd64", "os": "linux", "config": {}})
}

/// The image's SHELL, which Docker's configs have and the OCI's do not.
pub fn shell(config: &Map<String, Value>) -> Vec<String> {
    let own = strings(config.get("Shell"));
    if own.is_empty() { DEFAULT_SHELL.map(str::to_owned).to_vec() } else { own }
}

/// Sets a field, or takes it away when `value` is null.
pub fn set(object: &mut Map<String, Value>, field: &str, value: Value) {
    if value.is_null() {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value);
    }
}

/// The object that `value` is; an empty one for anything else.
pub fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value.and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_added_with_its_history() {
        let step = Step {
            created: "2026-01-02T03:04:05Z".parse().unwrap(),
            created_by: "sh -c x".to_owned(),
            author: String::new(),
            comment: "why".to_owned(),
        };
        let digest = Digest::of(b"layer");
        let base = json!({
            "architecture": "amd64", "os": "linux", "author": "an author", "container": "c", "docker_version": "1",
            "config": {"Shell": ["/bin/bash"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:a", "sha256:b"]},
            "history": [{"created_by": "first"}, {"created_by": "env", "empty_layer": true}],
        });
        let document = with_layer(base, object(Some(json!({"Cmd": ["x"]}))), &digest, &step);
        let expected = json!({
            "architecture": "amd64", "os": "linux", "docker_version": "1", "created": "2026-01-02T03:04:05Z",
            "comment": "why", "config": {"Cmd": ["x"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:a", "sha256:b", digest.to_string()]},
            "history": [
                {"created_by": "first"}, {"created_by": "env", "empty_layer": true}, {},
                {"created": "2026-01-02T03:04:05Z", "created_by": "sh -c x", "comment": "why"},
            ],
        });
        assert_eq!(document, expected);
        let parsed: oci_spec::image::ImageConfiguration = serde_json::from_value(document).unwrap();
        assert_eq!(parsed.rootfs().diff_ids().len(), 3);
        let first = with_layer(empty(), Map::new(), &digest, &step);
        assert_eq!(first["history"].as_array().unwrap().len(), 1);
        serde_json::from_value::<oci_spec::image::ImageConfiguration>(first).unwrap();
    }
}
