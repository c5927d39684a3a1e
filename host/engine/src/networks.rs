//! The verbs on networks, and which of them a container joins.

use moat_containers::state::Verb;
use moat_containers::{Container, ContainerError, Held};
use moat_monitor::wire::ClientMessage;
use moat_network::record::DEFAULT;
use moat_network::request::Join;
use moat_network::{NetworkError, events};

/// What requests and answers speak of.
pub use moat_network::CreateNetwork;
pub use moat_network::record::{BRIDGE_NAME_OPTION, MASQUERADE_OPTION, MTU_OPTION, Network};

use crate::reach::Answered;
use crate::{Engine, EngineError};

/// The only driver.
const DRIVER: &str = "bridge";

/// The network of containers without one, which has no record.
const NONE: &str = "none";

impl Engine {
    /// All networks, the default one included, which is always there, also before its first container.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn list_networks(&self) -> Result<Vec<Network>, EngineError> {
        self.networks().find(DEFAULT)?;
        Ok(self.networks().list()?)
    }

    /// Makes a network. Nothing of it is on the host before its first container.
    ///
    /// # Errors
    /// When the driver or an option is unknown, or the name or the addresses are taken.
    pub fn create_network(&self, driver: &str, wanted: CreateNetwork) -> Result<Network, EngineError> {
        if driver != DRIVER {
            return Err(EngineError::NetworkDriver(driver.to_owned()));
        }
        let known = [MTU_OPTION, BRIDGE_NAME_OPTION, MASQUERADE_OPTION];
        if let Some(unknown) = wanted.options.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(EngineError::NetworkOption(unknown.clone()));
        }
        let network = self.networks().create(wanted)?;
        events::emit(self.root(), "create", &network.id, &network.name, None);
        Ok(network)
    }

    /// Removes the network that `wanted` names: a name, an id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, it is a predefined one, or a running container is on it.
    pub fn remove_network(&self, wanted: &str) -> Result<(), EngineError> {
        if wanted == NONE {
            return Err(NetworkError::Predefined(wanted.to_owned()).into());
        }
        self.remove_found_network(&self.networks().find(wanted)?)
    }

    pub(crate) fn remove_found_network(&self, network: &Network) -> Result<(), EngineError> {
        self.networks().remove(network)?;
        events::emit(self.root(), "destroy", &network.id, &network.name, None);
        Ok(())
    }

    /// Has a container join one more network: at once if it runs, and at its start otherwise.
    ///
    /// # Errors
    /// When another command is busy with it, it is on the network already, or the network cannot give what is asked of it.
    pub fn connect(&self, container: &Container, join: Join) -> Result<(), EngineError> {
        let request = ClientMessage::Connect { join: join.clone() };
        if let Answered::Idle(container) = self.ask(container, Verb::Connect, &request)? {
            let mut held = self.hold_to_change(&container)?;
            self.containers().connect(&mut held.container, join)?;
        }
        Ok(())
    }

    /// Has a container leave a network: at once if it runs, and from its next start on otherwise.
    ///
    /// # Errors
    /// When another command is busy with it, or it is not on the network.
    pub fn disconnect(&self, container: &Container, network: &str) -> Result<(), EngineError> {
        let request = ClientMessage::Disconnect { network: network.to_owned() };
        if let Answered::Idle(container) = self.ask(container, Verb::Disconnect, &request)? {
            let mut held = self.hold_to_change(&container)?;
            self.containers().disconnect(&mut held.container, network)?;
        }
        Ok(())
    }

    pub(crate) fn hold_to_change(&self, container: &Container) -> Result<Held, EngineError> {
        let held = self.containers().hold_idle(container)?;
        Ok(held.ok_or_else(|| ContainerError::Busy(container.config.name.clone()))?)
    }
}

#[cfg(test)]
mod tests {
    use moat_records::journal::reader::EventLog;
    use moat_records::kind::ErrorKind;
    use moat_records::root::Root;

    use super::*;
    use crate::prune::PruneRequest;

    fn named(name: &str) -> CreateNetwork {
        CreateNetwork { name: name.to_owned(), ..CreateNetwork::default() }
    }

    #[test]
    fn networks_come_and_go_with_events() {
        let temporary = tempfile::tempdir().unwrap();
        let engine = Engine::open(Root::open(temporary.path()).unwrap()).unwrap();
        let mut log = EventLog::from_the_start(engine.root()).unwrap();
        let shop = engine.create_network("bridge", named("shop")).unwrap();
        engine.create_network("bridge", named("vault")).unwrap();
        assert_eq!(engine.networks().find("shop").unwrap().id, shop.id);
        let pruned = engine.prune(&PruneRequest { networks: true, ..PruneRequest::default() });
        assert!(pruned.failure.is_none(), "{pruned:?}");
        assert_eq!(pruned.networks, ["shop", "vault"]);
        let mut seen = Vec::new();
        while let Some(event) = log.read().unwrap() {
            seen.push((event.action, event.attributes["name"].clone()));
        }
        let expected = [("create", "shop"), ("create", "vault"), ("destroy", "shop"), ("destroy", "vault")];
        assert_eq!(seen, expected.map(|(action, name)| (action.to_owned(), name.to_owned())));
    }

    #[test]
    fn what_is_refused_says_its_kind() {
        let temporary = tempfile::tempdir().unwrap();
        let engine = Engine::open(Root::open(temporary.path()).unwrap()).unwrap();
        let error = engine.create_network("macvlan", named("shop")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let mut odd = named("shop");
        odd.options.insert("colour".to_owned(), "red".to_owned());
        let error = engine.create_network("bridge", odd).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with("unknown option colour: there are com.docker"), "{error}");
        assert_eq!(engine.remove_network("none").unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(engine.remove_network("shop").unwrap_err().kind(), ErrorKind::NotFound);
        assert!(engine.networks().list().unwrap().is_empty());
    }
}
