//! The config of an image that is made from a container.

use moat_containers::config::ContainerConfig;
use moat_containers::health::{HealthCheck, HealthOptions};
use moat_images::config::{object, set, shell};
use moat_images::store::Image;
use moat_records::signal;
use serde_json::{Map, Value, json};

/// How a container runs, as the `config` of an image: the image's own with what was decided for the container.
pub fn of_container(container: &ContainerConfig, image: &Image) -> Map<String, Value> {
    let mut config = object(image.document.get("config").cloned());
    let process = &container.process;
    let (entrypoint, command) = process.args.split_at(process.entrypoint.min(process.args.len()));
    let or_null = |words: &[String]| if words.is_empty() { Value::Null } else { json!(words) };
    set(&mut config, "Entrypoint", or_null(entrypoint));
    set(&mut config, "Cmd", or_null(command));
    set(&mut config, "Env", json!(process.env));
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    set(&mut config, "User", text(&process.user));
    // Where nothing is said, a container works in the root directory.
    let own = config.get("WorkingDir").and_then(Value::as_str).unwrap_or_default();
    if !(own.is_empty() && process.working_dir == "/") {
        set(&mut config, "WorkingDir", text(&process.working_dir));
    }
    let ports: Map<String, Value> =
        container.exposed_ports.iter().map(|port| (port.clone(), json!({}))).collect();
    set(&mut config, "ExposedPorts", if ports.is_empty() { Value::Null } else { Value::Object(ports) });
    let labels = if container.labels.is_empty() { Value::Null } else { json!(container.labels) };
    set(&mut config, "Labels", labels);
    let own =
        config.get("StopSignal").and_then(Value::as_str).and_then(signal::parse).unwrap_or(signal::TERM);
    if own != process.stop_signal {
        set(&mut config, "StopSignal", json!(process.stop_signal.to_string()));
    }
    let own = HealthCheck::decide(config.get("Healthcheck"), &HealthOptions::default(), &shell(&config));
    if own != container.health {
        let none = || json!({"Test": ["NONE"]});
        set(&mut config, "Healthcheck", container.health.as_ref().map_or_else(none, HealthCheck::document));
    }
    config
}
