//! Which containers are listed.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use jiff::Timestamp;
use moat::engine::Engine;
use moat::engine::container::Container;
use moat::engine::state::Status;
use moat::store::Image;

use crate::cli::filter::{Filters, finds};

/// What can be asked with `--filter`.
pub const KEYS: [&str; 9] =
    ["id", "name", "label", "exited", "status", "ancestor", "before", "since", "health"];

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

/// Docker's word for a container's health.
fn health(container: &Container) -> &'static str {
    container.state.health.as_ref().map_or("none", |health| health.status.name())
}
