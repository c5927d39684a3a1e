//! What is told of a network in the journal.

use std::collections::BTreeMap;

use moat_records::id::ContainerId;
use moat_records::journal::{self, Kind};
use moat_records::root::Root;

use crate::record::NetworkId;

/// Writes down what happened to a network; `container` is the one that joined or left.
pub fn emit(root: &Root, action: &str, network: &NetworkId, name: &str, container: Option<&ContainerId>) {
    let mut attributes: BTreeMap<String, String> =
        [("name", name), ("type", "bridge")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    attributes.extend(container.map(|id| ("container".to_owned(), id.to_string())));
    journal::write_down(root, Kind::Network, action, network.as_str(), attributes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_records::journal::reader::EventLog;

    #[test]
    fn an_event_names_the_network_and_the_container() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let network = NetworkId::random().unwrap();
        let container = ContainerId::random().unwrap();
        emit(&root, "connect", &network, "shop", Some(&container));
        let event = EventLog::from_the_start(&root).unwrap().read().unwrap().unwrap();
        assert_eq!((event.kind, event.id.as_str()), (Kind::Network, network.as_str()));
        assert_eq!(
            (event.attributes["name"].as_str(), event.attributes["type"].as_str()),
            ("shop", "bridge")
        );
        assert_eq!(event.attributes["container"], container.as_str());
    }
}
