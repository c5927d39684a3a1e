//! Which containers are listed.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use moat::engine::Engine;
use moat::engine::container::Container;
use moat::engine::state::Status;
use moat::network::endpoint::Attachment;
use moat::network::port::{ContainerPort, parse_exposed};
use moat::network::record::Network;
use moat::network::request::Join;
use moat::store::Image;

use crate::cli::filter::{Filters, finds};

/// What can be asked with `--filter`.
pub const KEYS: [&str; 12] = [
    "id", "name", "label", "exited", "status", "ancestor", "before", "since", "health", "network", "publish",
    "expose",
];

/// What Docker calls states that a container here is never in.
const NEVER: [&str; 2] = ["removing", "dead"];

/// What was asked for.
pub struct Selection {
    /// Several values of one key are alternatives (of labels all must be there); several keys must all match.
    pub filters: Filters,
    /// Also those that do not run.
    pub all: bool,
    /// Only so many, in whatever state.
    pub limit: Option<usize>,
}

impl Selection {
    /// Those of `containers`, the newest first, that were asked for.
    pub fn select(&self, engine: &Engine, mut containers: Vec<Container>) -> anyhow::Result<Vec<Container>> {
        self.check()?;
        let exits: Vec<u8> = (self.filters.values("exited").iter())
            .map(|code| {
                code.parse()
                    .with_context(|| format!("invalid filter 'exited={code}': an exit code is 0 to 255"))
            })
            .collect::<Result<_, _>>()?;
        let before = self.moments(engine, "before")?.into_iter().min();
        let since = self.moments(engine, "since")?.into_iter().max();
        let ancestors = self.descendants(engine)?;
        let ports = Ports::wanted(&self.filters)?;
        let networks = engine.networks().list()?;
        let every = self.all || self.limit.is_some() || self.filters.has("status");
        containers.retain(|container| {
            let (config, state) = (&container.config, &container.state);
            (every || state.status.is_live())
                && self.filters.any("id", |id| finds(id, config.id.as_str()))
                && self.filters.any("name", |name| {
                    finds(name, &config.name) || finds(name, &format!("/{}", config.name))
                })
                && self.filters.labels("label", &config.labels)
                && self.filters.any("status", |status| status == state.status.name())
                && self.filters.any("health", |wanted| wanted == health(container))
                && (exits.is_empty()
                    || (state.started.is_some()
                        && !state.status.is_live()
                        && exits.contains(&state.exit_code)))
                && before.is_none_or(|before| config.created < before)
                && since.is_none_or(|since| config.created > since)
                && ancestors.as_ref().is_none_or(|images| images.contains(&config.image_id))
                && self.filters.any("network", |wanted| {
                    config.network.networks.iter().any(|join| is_network(wanted, join, &networks))
                })
                && ports.as_ref().is_none_or(|ports| {
                    // As with Docker, only one that runs has ports.
                    let attachment = engine.networks().attachment(container.id()).ok().flatten();
                    attachment.is_some_and(|attachment| ports.match_one(container, &attachment))
                })
        });
        containers.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(containers)
    }

    /// Words that mean nothing are mistakes, not filters that match nothing.
    fn check(&self) -> anyhow::Result<()> {
        for status in self.filters.values("status") {
            if !Status::ALL.iter().map(|status| status.name()).chain(NEVER).any(|known| known == status) {
                let known = Status::ALL.map(Status::name).join(", ");
                bail!("invalid filter 'status={status}': there are {known}");
            }
        }
        for health in self.filters.values("health") {
            if !["starting", "healthy", "unhealthy", "none"].contains(&health.as_str()) {
                bail!("invalid filter 'health={health}': there are starting, healthy, unhealthy, none");
            }
        }
        Ok(())
    }

    /// When the containers that `key` names were created.
    fn moments(&self, engine: &Engine, key: &str) -> anyhow::Result<Vec<Timestamp>> {
        let find = |name: &String| Ok(engine.find(name)?.config.created);
        self.filters.values(key).iter().map(find).collect()
    }

    /// The ids of the images that are asked for with `ancestor`, and of those made from them.
    fn descendants(&self, engine: &Engine) -> anyhow::Result<Option<BTreeSet<String>>> {
        if !self.filters.has("ancestor") {
            return Ok(None);
        }
        let images = engine.store().list()?;
        // An image that is not there has no containers, and that is no mistake.
        let ancestors = self.filters.values("ancestor").iter().flat_map(|name| engine.store().resolve(name));
        let layers = |image: &Image| image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
        let mut found = BTreeSet::new();
        for ancestor in ancestors {
            let base = layers(&ancestor);
            let descends = |image: &&Image| image.id == ancestor.id || layers(image).starts_with(&base);
            found.extend(images.iter().filter(descends).map(|image| image.id.to_string()));
        }
        Ok(Some(found))
    }
}

/// Whether `wanted`, a name or the beginning of an id, is the network that a container joins under whatever name.
fn is_network(wanted: &str, join: &Join, networks: &[Network]) -> bool {
    let names = |name: &str, network: &Network| {
        network.name == name || (!name.is_empty() && network.id.as_str().starts_with(name))
    };
    join.network == wanted
        || networks.iter().any(|network| names(wanted, network) && names(&join.network, network))
}

/// The ports that are asked for with `publish` and `expose`. As with Docker, one of all of them is enough.
struct Ports {
    /// Of the host.
    publish: Vec<ContainerPort>,
    /// Of the container, published or not.
    expose: Vec<ContainerPort>,
}

impl Ports {
    /// Nothing when nothing is asked about ports.
    fn wanted(filters: &Filters) -> anyhow::Result<Option<Self>> {
        let read = |key: &str| -> anyhow::Result<Vec<ContainerPort>> {
            let ports = filters.values(key).iter().map(|text| {
                parse_exposed(text).map_err(|_| {
                    anyhow!("invalid filter '{key}={text}': ports are such as 80, 53/udp or 8000-8010/tcp")
                })
            });
            Ok(ports.collect::<anyhow::Result<Vec<_>>>()?.concat())
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
    use crate::cli::testing::container;
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

    #[test]
    fn networks_have_names_and_ids() {
        let join = Join::new("shop");
        assert!(is_network("shop", &join, &[]));
        assert!(!is_network("sho", &join, &[]) && !is_network("", &join, &[]));
    }
}
