//! What a name means at a registry: a manifest, directly or through an index of several platforms.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType, Platform as OciPlatform};
use serde_json::Value;
use ureq::http::{StatusCode, header};

use super::ask::Ask;
use super::client::Client;
use super::error::RegistryError;
use super::headers::header_of;
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
        let fault = || RegistryError::NotAPlatform(shorten(text));
        let (os, architecture, variant) = match text.split('/').collect::<Vec<_>>()[..] {
            ["linux"] => return Ok(Self::default()),
            [architecture] if is_architecture(architecture) => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(fault()),
        };
        if [os, architecture, variant.unwrap_or("-")].contains(&"") {
            return Err(fault());
        }
        let mut platform = Self::new(os, architecture, variant);
        if platform.architecture == "arm" {
            // Of its many variants, this is the one that is meant.
            platform.variant.get_or_insert_with(|| "v7".to_owned());
        }
        Ok(platform)
    }
}

impl From<&OciPlatform> for Platform {
    fn from(said: &OciPlatform) -> Self {
        let (os, architecture) = (said.os().to_string(), said.architecture().to_string());
        Self::new(&os, &architecture, said.variant().as_deref())
    }
}

/// Whether a word alone is one for an architecture.
fn is_architecture(word: &str) -> bool {
    let known = ["amd64", "386", "arm64", "arm", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"];
    known.contains(&canonical(word, None).0)
}

/// The one spelling of an architecture and a variant that have several: `uname -m` and Debian have their own words.
fn canonical<'a>(architecture: &'a str, variant: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i686", variant) => ("386", variant),
        ("aarch64" | "arm64", None | Some("v8" | "8")) => ("arm64", None),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", None) => ("arm", Some("v7")),
        ("armel", None) => ("arm", Some("v6")),
        other => other,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl Platform {
    /// The platform that is spelled like this somewhere.
    pub(super) fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = canonical(architecture, variant);
        let (os, architecture) = (os.to_owned(), architecture.to_owned());
        Self { os, architecture, variant: variant.map(str::to_owned) }
    }

    /// Whether what is for `other` will do for this platform, as far as the two tell.
    pub fn takes(&self, other: &Self) -> bool {
        self.rank(other).is_some()
    }

    /// How well what is for `other` does for this platform, 0 being best; nothing when it does not. What does not say
    /// its variant may be of the right one.
    pub(super) fn rank(&self, other: &Self) -> Option<usize> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        match (self.variants(), &other.variant) {
            (None, variant) => Some(usize::from(variant.is_some())),
            (Some(wanted), None) => Some(wanted.len()),
            (Some(wanted), Some(variant)) => wanted.iter().position(|one| one == variant),
        }
    }

    /// The variants that will do, the best first; any will when none was asked for. An ARM runs what was built for
    /// those before it.
    fn variants(&self) -> Option<Vec<String>> {
        let wanted = self.variant.as_ref()?;
        let version = wanted.strip_prefix('v').and_then(|version| version.parse::<u8>().ok());
        Some(match version {
            Some(version @ 5..=8) if self.architecture == "arm" => {
                (5..=version).rev().map(|version| format!("v{version}")).collect()
            }
            _ => vec![wanted.clone()],
        })
    }

    /// The entry of an index that does best. One entry that does not say what it is for is taken at its word that there
    /// is nothing to choose.
    fn choose<'a>(&self, entries: &'a [Descriptor]) -> Option<&'a Descriptor> {
        if let [only] = entries
            && only.platform().is_none()
        {
            return Some(only);
        }
        let rank = |one: &Descriptor| self.rank(&one.platform().as_ref()?.into());
        let fitting = entries.iter().filter_map(|one| Some((rank(one)?, one)));
        fitting.min_by_key(|(rank, _)| *rank).map(|(_, one)| one)
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
        let no_json = |e: serde_json::Error| bad(shorten(&e.to_string()));
        let kind = MediaType::from(media_type.as_str());
        if is(&kind, &MediaType::ImageManifest) {
            let manifest: ImageManifest = serde_json::from_slice(&text).map_err(no_json)?;
            check(client, &what, &manifest)?;
            return Ok(Resolved { digest: top, text, manifest });
        }
        if !is(&kind, &MediaType::ImageIndex) {
            let reason = if media_type.starts_with(SCHEMA_1) {
                "it is of Docker's schema 1, which is obsolete and which Moat does not read".to_owned()
            } else {
                format!("unknown media type {:?}", shorten(&media_type))
            };
            return Err(bad(reason));
        }
        let index: ImageIndex = serde_json::from_slice(&text).map_err(no_json)?;
        let chosen = platform.choose(index.manifests()).ok_or_else(|| {
            let offered = index.manifests().iter().filter_map(|one| one.platform().as_ref());
            let offered = offered.map(|said| shorten(&Platform::from(said).to_string()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_several_spellings() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("386", "linux/386"),
            ("linux", "linux/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown);
        }
        for text in ["", "windows", "linux/", "/amd64", "linux/amd64/", "a/b/c/d"] {
            text.parse::<Platform>().unwrap_err();
        }
    }

    /// Which of an index's entries, given by their platforms, is taken.
    fn chosen(wanted: &str, entries: &[&str]) -> Option<usize> {
        let entry = |(i, platform): (usize, &&str)| {
            let mut entry = serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": i,
                "digest": Digest::of(b"").to_string(),
            });
            if let [os, architecture, variant @ ..] = &platform.split('/').collect::<Vec<_>>()[..] {
                entry["platform"] = serde_json::json!({"os": os, "architecture": architecture});
                variant.iter().for_each(|variant| entry["platform"]["variant"] = (*variant).into());
            }
            serde_json::from_value::<Descriptor>(entry).unwrap()
        };
        let entries: Vec<Descriptor> = entries.iter().enumerate().map(entry).collect();
        let wanted: Platform = wanted.parse().unwrap();
        wanted.choose(&entries).map(|one| usize::try_from(one.size()).unwrap())
    }

    #[test]
    fn of_several_entries_the_best_is_taken() {
        for (wanted, entries, expected) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some(1)),
            ("linux/amd64", &["linux/amd64/v3", "linux/amd64"], Some(1)),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some(0)),
            ("linux/arm64", &["linux/arm64/v9", "linux/arm64/v8"], Some(1)),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], Some(1)),
            ("linux/arm/v7", &["linux/arm/v6", "linux/arm/v7"], Some(1)),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/arm/v6", &["linux/arm"], Some(0)),
            // Nothing says what it is for.
            ("linux/amd64", &[""], Some(0)),
            ("linux/amd64", &["", ""], None),
            ("linux/amd64", &["", "linux/arm64"], None),
            ("linux/amd64", &["linux/arm64"], None),
            ("linux/amd64", &[], None),
        ] {
            assert_eq!(chosen(wanted, entries), expected, "{wanted} {entries:?}");
        }
    }

    #[test]
    fn a_missing_variant_is_no_mismatch() {
        let wanted: Platform = "linux/arm/v7".parse().unwrap();
        let does =
            |architecture, variant| wanted.rank(&Platform::new("linux", architecture, variant)).is_some();
        assert!(does("arm", None) && does("arm", Some("v6")) && does("arm", Some("v7")));
        assert!(!does("arm", Some("v8")) && !does("arm64", None));
    }
}
