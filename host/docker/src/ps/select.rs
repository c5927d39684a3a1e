//! Which containers are listed.

use std::collections::BTreeSet;

use jiff::Timestamp;
use moat_containers::Container;
use moat_containers::state::Status;
use moat_images::store::Image;
use moat_network::endpoint::Attachment;
use moat_network::port::{ContainerPort, parse_exposed};
use moat_network::record::Network;
use moat_network::request::Join;

use crate::filter::{FilterError, Filters, Patterns};

/// The keys of `--filter`.
pub const KEYS: [&str; 14] = [
    "id", "name", "label", "exited", "status", "ancestor", "before", "since", "health", "network", "publish",
    "expose", "volume", "is-task",
];

/// States of Docker that no container is in here.
const NEVER: [&str; 2] = ["removing", "dead"];

/// Which containers are listed. A container must match every key. It matches a key when it matches one of the values;
/// of labels, all.
#[derive(Debug)]
pub struct Selection {
    filters: Filters,
    ids: Patterns,
    names: Patterns,
    exits: Vec<u8>,
    ports: Option<Ports>,
    /// Whether containers that do not run are listed too.
    every: bool,
    limit: Option<usize>,
}

/// What a selection needs beyond the containers' records. Its methods say which of these fields it reads.
#[derive(Debug, Default)]
pub struct Facts {
    /// When the containers of [`Selection::before`] were created.
    pub before: Vec<Timestamp>,
    /// When the containers of [`Selection::since`] were created.
    pub since: Vec<Timestamp>,
    /// The [`descendants`] of the images of [`Selection::ancestors`], if there are any of those.
    pub images: Option<BTreeSet<String>>,
    /// All networks, if [`Selection::asks_for_networks`].
    pub networks: Vec<Network>,
    /// Where the containers that run are on networks, if [`Selection::asks_for_ports`].
    pub attachments: Vec<Attachment>,
}

impl Selection {
    /// Reads the values of `--filter`. `all` adds the containers that do not run. `limit` selects so many of the
    /// newest in any state.
    ///
    /// # Errors
    /// When a filter is malformed, has an unknown key, or a value that no container can have.
    pub fn parse(filters: &[String], all: bool, limit: Option<usize>) -> Result<Self, FilterError> {
        let filters = Filters::parse(filters, &KEYS)?;
        check(&filters)?;
        let exit_code = |value: &String| {
            value.parse().map_err(|source| FilterError::ExitCode { value: value.clone(), source })
        };
        Ok(Self {
            ids: filters.patterns("id")?,
            names: filters.patterns("name")?,
            exits: filters.values("exited").iter().map(exit_code).collect::<Result<_, _>>()?,
            ports: Ports::wanted(&filters)?,
            every: all || limit.is_some() || filters.has("status"),
            limit,
            filters,
        })
    }

    /// The names of containers that are younger than every selected one.
    pub fn before(&self) -> &[String] {
        self.filters.values("before")
    }

    /// The names of containers that are older than every selected one.
    pub fn since(&self) -> &[String] {
        self.filters.values("since")
    }

    /// The names of images. Each selected container was made from one of them or from a descendant of one.
    pub fn ancestors(&self) -> &[String] {
        self.filters.values("ancestor")
    }

    /// Whether there is a filter on networks.
    pub fn asks_for_networks(&self) -> bool {
        self.filters.has("network")
    }

    /// Whether there is a filter on ports.
    pub fn asks_for_ports(&self) -> bool {
        self.ports.is_some()
    }

    /// The selected ones of `containers`, which are sorted from the newest on.
    pub fn select(&self, mut containers: Vec<Container>, facts: &Facts) -> Vec<Container> {
        let (before, since) = (facts.before.iter().min(), facts.since.iter().max());
        containers.retain(|container| {
            let created = container.config.created;
            self.takes(container, &facts.networks)
                && before.is_none_or(|before| created < *before)
                && since.is_none_or(|since| created > *since)
                && facts.images.as_ref().is_none_or(|images| images.contains(&container.config.image_id))
                && self.ports.as_ref().is_none_or(|ports| {
                    // As with Docker, only a running container has ports.
                    let attachment = facts.attachments.iter().find(|it| it.container == *container.id());
                    attachment.is_some_and(|attachment| ports.match_one(container, attachment))
                })
        });
        containers.truncate(self.limit.unwrap_or(usize::MAX));
        containers
    }

    /// Whether a container's record and its networks match.
    fn takes(&self, container: &Container, networks: &[Network]) -> bool {
        let (config, state) = (&container.config, &container.state);
        let has_ended = state.started.is_some() && !state.status.is_live();
        (self.every || state.status.is_live())
            && self.ids.find_any(&[config.id.as_str()])
            && self.names.find_any(&[&config.name, &format!("/{}", config.name)])
            && self.filters.labels("label", &config.labels)
            && self.filters.any("status", |status| status == state.status.name())
            && self.filters.any("health", |wanted| wanted == health(container))
            && (self.exits.is_empty() || (has_ended && self.exits.contains(&state.exit_code)))
            && self.filters.any("volume", |place| config.volumes.iter().any(|volume| volume == place))
            // Tasks are containers of a swarm.
            && self.filters.any("is-task", |value| value == "false")
            && self.filters.any("network", |wanted| {
                config.network.networks.iter().any(|join| is_network(wanted, join, networks))
            })
    }
}

/// Refuses states that do not exist: a filter with a typing error must not look like an empty list.
fn check(filters: &Filters) -> Result<(), FilterError> {
    let known = |key: &'static str, known: &[&str], more: &[&str]| -> Result<(), FilterError> {
        let is_unknown = |value: &&String| !known.iter().chain(more).any(|known| known == value);
        match filters.values(key).iter().find(is_unknown) {
            None => Ok(()),
            Some(value) => {
                let expected = format!("there are {}", known.join(", "));
                Err(FilterError::Value { key, value: value.clone(), expected })
            }
        }
    };
    known("status", &Status::ALL.map(Status::name), &NEVER)?;
    known("is-task", &["true", "false"], &[])?;
    known("health", &["starting", "healthy", "unhealthy", "none"], &[])
}

/// The ids of `ancestors` and of their descendants among `images`.
pub fn descendants(images: &[Image], ancestors: &[Image]) -> BTreeSet<String> {
    let layers = |image: &Image| image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
    let mut found = BTreeSet::new();
    for ancestor in ancestors {
        let base = layers(ancestor);
        let descends = |image: &&Image| image.id == ancestor.id || layers(image).starts_with(&base);
        found.extend(images.iter().filter(descends).map(|image| image.id.to_string()));
    }
    found
}

/// Whether `wanted`, a name or the beginning of an id, means the same network as `join`.
fn is_network(wanted: &str, join: &Join, networks: &[Network]) -> bool {
    let names = |name: &str, network: &Network| {
        network.name == name || (!name.is_empty() && network.id.as_str().starts_with(name))
    };
    join.network == wanted
        || networks.iter().any(|network| names(wanted, network) && names(&join.network, network))
}

/// The ports of the filters `publish` and `expose`. As with Docker, one match of all of them is enough.
#[derive(Debug)]
struct Ports {
    /// Ports of the host.
    publish: Vec<ContainerPort>,
    /// Ports of the container, published or not.
    expose: Vec<ContainerPort>,
}

impl Ports {
    /// Reads the filters on ports; nothing when there are none.
    fn wanted(filters: &Filters) -> Result<Option<Self>, FilterError> {
        let read = |key: &'static str| -> Result<Vec<ContainerPort>, FilterError> {
            let ports = filters.values(key).iter().map(|text| {
                parse_exposed(text).map_err(|_| FilterError::Value {
                    key,
                    value: text.clone(),
                    expected: "ports are such as 80, 53/udp or 8000-8010/tcp".to_owned(),
                })
            });
            Ok(ports.collect::<Result<Vec<_>, _>>()?.concat())
        };
        let ports = Self { publish: read("publish")?, expose: read("expose")? };
        Ok((filters.has("publish") || filters.has("expose")).then_some(ports))
    }

    fn match_one(&self, container: &Container, attachment: &Attachment) -> bool {
        let published = attachment.ports.iter().any(|port| {
            let host = ContainerPort { port: port.host_port, protocol: port.protocol };
            self.publish.contains(&host) || self.expose.contains(&port.container())
        });
        let exposed = container.config.exposed_ports.iter().flat_map(|text| parse_exposed(text));
        published || exposed.flatten().any(|port| self.expose.contains(&port))
    }
}

/// Docker's word for a container's health.
fn health(container: &Container) -> &'static str {
    container.state.health.as_ref().map_or("none", |health| health.status.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use moat_containers::testing::container;
    use serde_json::json;

    fn filters(texts: &[&str]) -> Filters {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        Filters::parse(&texts, &KEYS).unwrap()
    }

    #[test]
    fn ports_are_the_hosts_or_the_containers() {
        let one = container();
        let attachment: Attachment = serde_json::from_value(json!({
            "container": one.id(), "name": "web", "hostname": "web", "endpoints": [], "host_access": false,
            "ports": [{"protocol": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "container_port": 81}],
        }))
        .unwrap();
        for (texts, expected) in [
            (&["publish=8080"][..], true),
            (&["publish=8080/tcp"], true),
            (&["publish=8000-8090/tcp"], true),
            (&["publish=8080/udp"], false),
            (&["publish=81"], false),
            (&["expose=81"], true),
            (&["expose=80"], true),
            (&["expose=8080"], false),
            (&["publish=1", "expose=80"], true),
        ] {
            let ports = Ports::wanted(&filters(texts)).unwrap().unwrap();
            assert_eq!(ports.match_one(&one, &attachment), expected, "{texts:?}");
        }
        assert!(Ports::wanted(&filters(&["name=x"])).unwrap().is_none());
        for bad in ["publish=x", "expose=", "publish=80/icmp", "publish=9-8"] {
            let error = Ports::wanted(&filters(&[bad])).err().unwrap().to_string();
            assert!(error.starts_with(&format!("invalid filter '{bad}'")), "{error}");
        }
    }

    fn select(texts: &[&str], all: bool, limit: Option<usize>, facts: &Facts) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let mut containers = vec![container(), container(), container()];
        for (one, (name, status)) in containers.iter_mut().zip([
            ("web1", Status::Running),
            ("web2", Status::Exited),
            ("db", Status::Created),
        ]) {
            one.config.name = name.to_owned();
            one.state.status = status;
        }
        containers[1].state.started = Some(containers[1].config.created);
        containers[1].state.exit_code = 3;
        let selection = Selection::parse(&texts, all, limit).unwrap();
        selection.select(containers, facts).into_iter().map(|one| one.config.name).collect()
    }

    #[test]
    fn containers_are_chosen_by_their_records() {
        let nothing = Facts::default();
        for (texts, expected) in [
            (&[][..], &["web1", "web2", "db"][..]),
            (&["name=web"], &["web1", "web2"]),
            (&["name=^web[13]$"], &["web1"]),
            (&["name=^/web[[:digit:]]$", "name=^d"], &["web1", "web2", "db"]),
            (&["name=^(?i)WEB\\d{1,2}$"], &["web1", "web2"]),
            (&["name=(web1|db)$"], &["web1", "db"]),
            (&["name=WEB"], &[]),
            (&["id=^0123456789ab"], &["web1", "web2", "db"]),
            (&["id=^ab"], &[]),
            (&["exited=3"], &["web2"]),
            (&["exited=0"], &[]),
            (&["label=tier=1", "status=created"], &["db"]),
            (&["status=dead"], &[]),
            (&["health=none"], &["web1", "web2", "db"]),
        ] {
            assert_eq!(select(texts, true, None, &nothing), expected, "{texts:?}");
        }
        assert_eq!(select(&[], false, None, &nothing), ["web1"]);
        assert_eq!(select(&[], false, Some(2), &nothing), ["web1", "web2"]);
        assert_eq!(select(&["status=exited"], false, None, &nothing), ["web2"]);
    }

    #[test]
    fn containers_are_chosen_by_facts() {
        let created = container().config.created;
        let facts = |before, since| Facts { before, since, ..Facts::default() };
        assert!(select(&["before=x"], true, None, &facts(vec![created], vec![])).is_empty());
        assert!(select(&["since=x"], true, None, &facts(vec![], vec![created])).is_empty());
        let later = created.checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
        assert_eq!(select(&["before=x"], true, None, &facts(vec![later], vec![])).len(), 3);
        assert!(
            select(&["before=x", "before=y"], true, None, &facts(vec![later, created], vec![])).is_empty()
        );
        let images =
            |images: &[String]| Facts { images: Some(images.iter().cloned().collect()), ..Facts::default() };
        assert!(select(&["ancestor=x"], true, None, &images(&[])).is_empty());
        assert_eq!(select(&["ancestor=x"], true, None, &images(&[container().config.image_id])).len(), 3);
        assert!(select(&["publish=80"], true, None, &Facts::default()).is_empty());
    }

    #[test]
    fn filters_that_mean_nothing_are_mistakes() {
        for (text, words) in [
            ("status=nope", "invalid filter 'status=nope': there are created, running"),
            ("health=x", "invalid filter 'health=x': there are starting, healthy, unhealthy, none"),
            ("exited=256", "invalid filter 'exited=256': an exit code is 0 to 255"),
            ("name=[", "invalid filter 'name=[': error parsing regexp: missing closing ]: `[`"),
            ("colour=red", "invalid filter 'colour': there are id, name"),
        ] {
            let error = Selection::parse(&[text.to_owned()], false, None).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn networks_have_names_and_ids() {
        let join = Join::new("shop");
        assert!(is_network("shop", &join, &[]));
        assert!(!is_network("sho", &join, &[]) && !is_network("", &join, &[]));
    }
}
