//! An image as `inspect` shows it, in Docker's shape.

use moat_images::store::{Image, Reference};
use serde_json::{Map, Value, json};

use super::NEVER;

/// The fields of a config that Docker leaves out of its JSON when they are empty. Templates may still name them.
const OPTIONAL: [&str; 5] = ["ExposedPorts", "Healthcheck", "Shell", "StopSignal", "ArgsEscaped"];

/// An image under Docker's names.
pub fn object(image: &Image) -> Value {
    let pulled = image.repo_digests.iter().collect();
    let tagged = image.references.iter().filter(|name| name.digest().is_none()).collect();
    let familiar = |names: Vec<&Reference>| names.into_iter().map(Reference::familiar).collect::<Vec<_>>();
    let layers: Vec<_> = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": familiar(tagged),
        "RepoDigests": familiar(pulled),
        "Parent": "",
        "DockerVersion": image.document.get("docker_version").cloned().unwrap_or_else(|| json!("")),
        "GraphDriver": {"Name": "moat", "Data": null},
        // When a name was given is not recorded.
        "Metadata": {"LastTagTime": NEVER},
        "Comment": image.document.get("comment").cloned().unwrap_or_else(|| json!("")),
        "Created": text(image.config.created().as_ref()),
        "Author": text(image.config.author().as_ref()),
        "Architecture": image.config.architecture().to_string(),
        "Variant": text(image.config.variant().as_ref()),
        "Os": image.config.os().to_string(),
        "Size": image.size(),
        "Config": config(image),
        "RootFS": {"Type": image.config.rootfs().typ(), "Layers": layers},
    })
}

/// The image's config with the fields that Docker always shows.
fn config(image: &Image) -> Value {
    let mut config = Map::new();
    for (field, empty) in [
        ("Hostname", json!("")),
        ("Domainname", json!("")),
        ("User", json!("")),
        ("AttachStdin", json!(false)),
        ("AttachStdout", json!(false)),
        ("AttachStderr", json!(false)),
        ("Tty", json!(false)),
        ("OpenStdin", json!(false)),
        ("StdinOnce", json!(false)),
        ("Image", json!("")),
        ("OnBuild", Value::Null),
        ("Env", json!([])),
        ("Cmd", Value::Null),
        ("Entrypoint", Value::Null),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
        ("Labels", Value::Null),
    ] {
        config.insert(field.to_owned(), empty);
    }
    config.extend(OPTIONAL.map(|field| (field.to_owned(), Value::Null)));
    if let Some(Value::Object(own)) = image.document.get("config") {
        config.extend(own.clone());
    }
    Value::Object(config)
}

/// Removes the empty fields that Docker leaves out of its JSON.
pub fn leave_out_empty(object: &mut Value) {
    if let Some(Value::Object(config)) = object.get_mut("Config") {
        config.retain(|field, value| !(value.is_null() && OPTIONAL.contains(&field.as_str())));
    }
    if let Value::Object(fields) = object {
        fields.retain(|field, value| !(field == "Variant" && value.as_str() == Some("")));
    }
}
