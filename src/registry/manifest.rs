//! What a name means at a registry: a manifest, directly or through an index of several platforms.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType, Platform as OciPlatform};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{StatusCode, header};

use super::client::{Ask, Client, header_of};
use super::error::RegistryError;
use crate::store::limits::{MAX_DOCUMENT, MAX_INDEX_DEPTH, MAX_LAYERS};
use crate::store::{Digest, is, is_layer, shorten};

/// What we take, in the order of preference.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// What the oldest registries have.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";
/// How many platforms a message can bear.
const MAX_OFFERED: usize = 16;

/// A system and an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Default for Platform {
    fn default() -> Self {
        Self { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
    }
}

impl FromStr for Platform {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(RegistryError::NotAPlatform(shorten(text))),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(RegistryError::NotAPlatform(shorten(text)));
        }
        // The words of `uname -m` mean the same.
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64", None | Some("v8")) | ("arm64", Some("v8")) => ("arm64", None),
            other => other,
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl Platform {
    /// Whether this is what was asked for.
    pub fn matches(&self, os: &str, architecture: &str, variant: Option<&str>) -> bool {
        self.os == os
            && self.architecture == architecture
            && self.variant.as_deref().is_none_or(|wanted| Some(wanted) == variant)
    }

    fn fits(&self, descriptor: &Descriptor) -> bool {
        let fits = |platform: &OciPlatform| {
            let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
            self.matches(&os, &architecture, platform.variant().as_deref())
        };
        descriptor.platform().as_ref().is_some_and(fits)
    }
}

/// What a name means.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The digest of what the registry has under the name, be it a manifest or an index.
    pub digest: Digest,
    /// The manifest's bytes.
    pub text: Vec<u8>,
    /// What is in it.
    pub manifest: ImageManifest,
}

/// Finds the manifest of `tag`, a tag or a digest, for `platform`.
pub(super) fn resolve(
    client: &Client,
    repository: &str,
    scope: &str,
    image: &str,
    tag: &str,
    platform: &Platform,
) -> Result<Resolved, RegistryError> {
    let mut at = tag.to_owned();
    let mut top = None;
    for _ in 0..=MAX_INDEX_DEPTH {
        let (digest, text, media_type) = fetch(client, repository, scope, image, &at)?;
        let top = *top.get_or_insert(digest);
        let what = format!("the manifest of {image} ({digest})");
        let bad = |reason: String| client.nonsense(&what, reason);
        let kind = MediaType::from(media_type.as_str());
        if is(&kind, &MediaType::ImageManifest) {
            let manifest: ImageManifest = parse(&text).map_err(bad)?;
            check(client, &what, &manifest)?;
            return Ok(Resolved { digest: top, text, manifest });
        }
        if !is(&kind, &MediaType::ImageIndex) {
            let reason = if media_type.starts_with(SCHEMA_1) {
                "it is of Docker's schema 1, which nobody writes any more and Moat does not read".to_owned()
            } else {
                format!("unknown media type {:?}", shorten(&media_type))
            };
            return Err(bad(reason));
        }
        let index: ImageIndex = parse(&text).map_err(bad)?;
        let chosen = index.manifests().iter().find(|one| platform.fits(one)).ok_or_else(|| {
            let offered = index.manifests().iter().filter_map(|one| one.platform().as_ref());
            let offered = offered.map(|p| shorten(&format!("{}/{}", p.os(), p.architecture())));
            let offered = offered.take(MAX_OFFERED).collect();
            RegistryError::Platform { image: image.to_owned(), wanted: platform.to_string(), offered }
        })?;
        at = digest_of(chosen, &what)?.to_string();
    }
    let reason = format!("it has more than {MAX_INDEX_DEPTH} indexes one inside the other");
    Err(client.nonsense(&format!("the manifest of {image}"), reason))
}

/// Gets a manifest, and makes sure that it is the one that was asked for.
fn fetch(
    client: &Client,
    repository: &str,
    scope: &str,
    image: &str,
    tag: &str,
) -> Result<(Digest, Vec<u8>, String), RegistryError> {
    let url = format!("/v2/{repository}/manifests/{tag}");
    let what = format!("the manifest of {image}");
    let accept = [(header::ACCEPT, ACCEPT.to_owned())];
    let ask = Ask { what: &what, headers: &accept, ..Ask::get(&url, scope) };
    let mut response = client.ask(&ask)?;
    if response.status() == StatusCode::NOT_FOUND {
        return Err(RegistryError::NoManifest(image.to_owned()));
    }
    if !response.status().is_success() {
        return Err(client.refused(&ask, response));
    }
    let header = header_of(&response, &header::CONTENT_TYPE).map(str::to_owned);
    let text = client.document(&what, &mut response, MAX_DOCUMENT)?;
    let got = Digest::of(&text);
    if let Ok(expected) = tag.parse::<Digest>()
        && expected != got
    {
        return Err(client.nonsense(&what, format!("expected digest {expected}, got {got}")));
    }
    // What the document says of itself is covered by its digest; the header is not.
    let own = serde_json::from_slice::<Value>(&text)
        .map_err(|e| client.nonsense(&what, shorten(&e.to_string())))?;
    let own = own.get("mediaType").and_then(Value::as_str).map(str::to_owned);
    let header = header.map(|header| header.split(';').next().unwrap_or_default().trim().to_owned());
    Ok((got, text, own.or(header).unwrap_or_default()))
}

/// Refuses a manifest that is not that of an image.
fn check(client: &Client, what: &str, manifest: &ImageManifest) -> Result<(), RegistryError> {
    let config = manifest.config();
    if !is(config.media_type(), &MediaType::ImageConfig) {
        let reason =
            format!("its config has the unknown media type {:?}", shorten(config.media_type().as_ref()));
        return Err(client.nonsense(what, reason));
    }
    if config.size() > MAX_DOCUMENT {
        let reason =
            format!("its config has {} bytes; the most that Moat takes is {MAX_DOCUMENT}", config.size());
        return Err(client.nonsense(what, reason));
    }
    let layers = manifest.layers();
    if layers.len() > MAX_LAYERS {
        let reason = format!("it has {} layers; the most that Moat takes is {MAX_LAYERS}", layers.len());
        return Err(client.nonsense(what, reason));
    }
    match layers.iter().position(|layer| !is_layer(layer.media_type())) {
        None => Ok(()),
        Some(at) => {
            let media_type = shorten(layers[at].media_type().as_ref());
            Err(client
                .nonsense(what, format!("its layer {} has the unknown media type {media_type:?}", at + 1)))
        }
    }
}

/// The digest in a descriptor.
pub(super) fn digest_of(descriptor: &Descriptor, what: &str) -> Result<Digest, RegistryError> {
    let digest = descriptor.digest().as_ref().parse();
    digest.map_err(|cause| RegistryError::Digest { what: what.to_owned(), cause })
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|e| shorten(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_several_spellings() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown);
        }
        for text in ["", "linux", "linux/", "a/b/c/d"] {
            text.parse::<Platform>().unwrap_err();
        }
    }
}
