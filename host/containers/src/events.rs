//! What is told of a container in the journal.

use moat_records::journal::{self, Kind};
use moat_records::root::Root;

use crate::Container;
use crate::state::State;

/// Writes down what happened to `container`. That it cannot be written is no reason to fail what happened.
pub fn emit(root: &Root, container: &Container, action: &str, attributes: &[(&str, String)]) {
    let mut all = container.config.labels.clone();
    all.insert("image".to_owned(), container.config.image.clone());
    all.insert("name".to_owned(), container.config.name.clone());
    all.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    journal::write_down(root, Kind::Container, action, container.id().as_str(), all);
}

/// Writes down how a container's process ended, which `state` tells.
pub fn emit_die(root: &Root, container: &Container, state: &State) {
    let lasted = state.started.zip(state.finished).map_or(0, |(from, to)| to.duration_since(from).as_secs());
    let attributes = [("exitCode", state.exit_code.to_string()), ("execDuration", lasted.max(0).to_string())];
    emit(root, container, "die", &attributes);
}
