//! `pull`: an image from a registry into the store.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oci_spec::image::{Descriptor, ImageConfiguration};
use serde_json::Value;
use ureq::http::header;

use super::ask::{Ask, Permission};
use super::blob::BlobSource;
use super::client::Client;
use super::config::Config;
use super::credentials::Credentials;
use super::error::RegistryError;
use super::headers::header_of;
use super::manifest::{self, Platform, Resolved, digest_of};
use super::parallel;
use super::sources::Sources;
use crate::store::limits::MAX_DOCUMENT;
use crate::store::{
    Arrival, Digest, FetchedLayer, ImageStore, Loaded, Pulled, Reference, WantedLayer, diff_ids, shorten,
};

/// The most tags of a repository that are asked for.
const MAX_TAGS: usize = 10_000;

/// What a pull is doing.
#[derive(Debug, Clone, Copy)]
pub enum PullEvent<'a> {
    /// These are the layers that the image has, each once.
    Layers(&'a [WantedLayer]),
    /// Something happens to one of them.
    Layer(usize, Arrival),
    /// All are here, and are being made into a disk.
    Indexing,
}

/// What a pull did.
#[derive(Debug)]
pub struct Outcome {
    /// What the registry has under the name.
    pub digest: Digest,
    /// The image, unless the store had it under this name.
    pub loaded: Option<Loaded>,
}

/// Pulls `name`, for this machine's platform or another.
///
/// # Errors
/// When it cannot be had; the store is then as it was, but for what the next pull continues from.
pub fn pull(
    store: &ImageStore,
    config: &Config,
    credentials: &Credentials,
    name: &Reference,
    platform: Option<&Platform>,
    seen: &(dyn Fn(PullEvent<'_>) + Sync),
) -> Result<Outcome, RegistryError> {
    let (repository, image) = (name.repository(), name.familiar());
    let scope = Permission::Pull.scope(repository);
    // With a digest, the tag says nothing.
    let target = name.digest().map_or_else(|| name.clone(), |digest| name.with_digest(digest));
    let tag = target.digest().map(|digest| digest.to_string());
    let tag = tag.as_deref().or(target.tag()).unwrap_or("latest");
    let sources = Sources::new(config, credentials, name.registry());
    let resolved = sources.ask(|client| {
        manifest::resolve(client, repository, &scope, &image, tag, &platform.cloned().unwrap_or_default())
    })?;
    let digest = resolved.digest;
    let have = store.resolve(&target.to_string()).ok();
    let same =
        |have: &crate::store::Image| have.digest_in(&target) == Some(digest) && have.came_as(&resolved.text);
    if have.as_ref().is_some_and(same) {
        return Ok(Outcome { digest, loaded: None });
    }
    let config = resolved.manifest.config();
    let text = sources.ask(|client| fetch_config(client, repository, &scope, &image, config))?;
    if let Some(platform) = platform {
        check_platform(&text, &image, platform)?;
    }
    let pull = Pull { store, sources, repository, scope, image, seen };
    let loaded = pull.layers(&resolved, &text, &target)?;
    Ok(Outcome { digest, loaded: Some(loaded) })
}

/// The tags of a repository.
///
/// # Errors
/// When the registry does not tell.
pub fn tags(
    config: &Config,
    credentials: &Credentials,
    name: &Reference,
) -> Result<Vec<String>, RegistryError> {
    let what = format!("the tags of {}", name.familiar_name());
    let scope = Permission::Pull.scope(name.repository());
    Sources::new(config, credentials, name.registry()).ask(|client| {
        let mut found = Vec::new();
        let mut url = format!("/v2/{}/tags/list", name.repository());
        loop {
            let mut response = client.demand(&Ask { what: &what, ..Ask::get(&url, &scope) })?;
            let next = header_of(&response, &header::LINK).and_then(next_page).map(str::to_owned);
            let text = client.document(&what, &mut response, MAX_DOCUMENT)?;
            let page: Value =
                serde_json::from_slice(&text).map_err(|e| client.nonsense(&what, shorten(&e.to_string())))?;
            let page = page.get("tags").and_then(Value::as_array).into_iter().flatten();
            let before = found.len();
            found.extend(page.filter_map(Value::as_str).map(str::to_owned));
            match next {
                Some(next) if found.len() > before && found.len() <= MAX_TAGS => url = next,
                _ => break,
            }
        }
        if found.len() > MAX_TAGS {
            return Err(client.nonsense(&what, format!("there are more than {MAX_TAGS}")));
        }
        Ok(found)
    })
}

/// The URL in `<URL>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    let (url, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(url)
}

fn fetch_config(
    client: &Client,
    repository: &str,
    scope: &str,
    image: &str,
    config: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let what = format!("the config of {image}");
    let digest = digest_of(config, &what)?;
    let url = format!("/v2/{repository}/blobs/{digest}");
    let mut response = client.demand(&Ask { what: &what, ..Ask::get(&url, scope) })?;
    let text = client.document(&what, &mut response, config.size())?;
    let got = Digest::of(&text);
    if got != digest {
        return Err(client.nonsense(&what, format!("expected digest {digest}, got {got}")));
    }
    Ok(text)
}

/// Refuses an image that is not for the platform that was asked for.
fn check_platform(config: &[u8], image: &str, platform: &Platform) -> Result<(), RegistryError> {
    // What is wrong with it otherwise is found out later.
    let Ok(config) = serde_json::from_slice::<ImageConfiguration>(config) else { return Ok(()) };
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    let found = Platform::new(&os, &architecture, config.variant().as_deref());
    if platform.rank(&found).is_some() {
        return Ok(());
    }
    let (wanted, found) = (platform.to_string(), shorten(&found.to_string()));
    Err(RegistryError::OtherPlatform { image: image.to_owned(), wanted, found })
}

/// One image on its way.
struct Pull<'a> {
    store: &'a ImageStore,
    sources: Sources<'a>,
    repository: &'a str,
    scope: String,
    image: String,
    seen: &'a (dyn Fn(PullEvent<'_>) + Sync),
}

impl Pull<'_> {
    /// Gets what is missing and puts the image together.
    fn layers(&self, resolved: &Resolved, config: &[u8], name: &Reference) -> Result<Loaded, RegistryError> {
        let described = resolved.manifest.layers();
        let diff_ids = diff_ids(config, &self.image, described.len())?;
        let all = described.iter().zip(diff_ids).enumerate().map(|(i, (layer, diff_id))| {
            let what = format!("{}, layer {} ({})", self.image, i + 1, shorten(layer.digest().as_ref()));
            Ok(WantedLayer { digest: digest_of(layer, &what)?, size: layer.size(), diff_id, what })
        });
        let all: Vec<WantedLayer> = all.collect::<Result<_, RegistryError>>()?;
        // A layer may occur twice. It is the same one only if the config agrees.
        let same =
            |a: &WantedLayer, b: &WantedLayer| (a.digest, a.size, a.diff_id) == (b.digest, b.size, b.diff_id);
        let mut wanted: Vec<WantedLayer> = Vec::new();
        let mut order = Vec::new();
        for layer in all {
            order.push(wanted.iter().position(|known| same(known, &layer)).unwrap_or_else(|| {
                wanted.push(layer);
                wanted.len() - 1
            }));
        }
        (self.seen)(PullEvent::Layers(&wanted));
        let incoming = self.store.incoming(&self.image, &wanted)?;
        let given_up = Arc::new(AtomicBool::new(false));
        let fetched: Vec<FetchedLayer> = parallel::each(wanted.len(), &given_up, |i| {
            self.sources.ask(|client| {
                let source = self.source(client, &wanted[i], &given_up);
                let mut fetch = |offset: u64| -> io::Result<Box<dyn Read>> {
                    Ok(Box::new(source.open(offset).map_err(io::Error::other)?))
                };
                let seen = |arrival| (self.seen)(PullEvent::Layer(i, arrival));
                let layer = incoming.layer(&wanted[i], &mut fetch, &seen);
                // A pull that was given up fails for that reason.
                let was_wanted =
                    |e| if given_up.load(Ordering::Relaxed) { RegistryError::GivenUp } else { e };
                layer.map_err(|e| was_wanted(e.into()))
            })
        })?;
        (self.seen)(PullEvent::Indexing);
        Ok(incoming.finish(&Pulled {
            references: std::slice::from_ref(name),
            digest: resolved.digest,
            manifest: &resolved.text,
            config,
            layers: order.iter().map(|&i| &fetched[i]).collect(),
        })?)
    }

    fn source(&self, client: &Arc<Client>, wanted: &WantedLayer, given_up: &Arc<AtomicBool>) -> BlobSource {
        BlobSource {
            client: Arc::clone(client),
            repository: self.repository.to_owned(),
            scope: self.scope.clone(),
            digest: wanted.digest,
            size: wanted.size,
            what: "the blob".to_owned(),
            given_up: Arc::clone(given_up),
        }
    }
}
