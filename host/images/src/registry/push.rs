//! `push`: an image from the store to a registry.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::AtomicBool;

use ureq::Body;
use ureq::http::{Method, Response, StatusCode, header};

use super::ask::{Ask, Payload, Permission, escape};
use super::client::{Client, pause};
use super::error::RegistryError;
use super::headers::header_of;
use super::parallel;
use super::url::{Origin, Url};
use crate::store::{Digest, Image, ImageStore, Outgoing, OutgoingBlob, Reference};

/// How often the upload of a layer is begun again.
const MAX_RETRIES: u32 = 4;

/// What a push is doing.
#[derive(Debug, Clone, Copy)]
pub enum PushEvent<'a> {
    /// It compresses this layer of an image that was made here.
    Compressing(usize),
    /// These are the layers, each once.
    Layers(&'a [OutgoingBlob]),
    /// This many bytes of a layer are there.
    Sent(usize, u64),
    /// A layer is there.
    Done(usize, Pushed<'a>),
}

/// How a layer got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed<'a> {
    /// It was sent.
    Sent,
    /// The registry had it.
    Present,
    /// The registry had it in this repository.
    Mounted(&'a str),
}

/// Pushes `image` as `name`, and says under which digest the registry now has it and how long its manifest is, in
/// bytes.
///
/// # Errors
/// When the registry does not take it, or the store does not give it.
pub fn push(
    store: &ImageStore,
    client: &Client,
    image: &Image,
    name: &Reference,
    seen: &(dyn Fn(PushEvent<'_>) + Sync),
) -> Result<(Digest, u64), RegistryError> {
    let outgoing = store.outgoing(image, name, |layer| seen(PushEvent::Compressing(layer)))?;
    let mut layers: Vec<OutgoingBlob> = Vec::new();
    for layer in &outgoing.layers {
        if layers.iter().all(|known| known.digest != layer.digest) {
            layers.push(layer.clone());
        }
    }
    seen(PushEvent::Layers(&layers));
    // Other repositories of this registry that have the layers.
    let here = image
        .repo_digests
        .iter()
        .find(|other| other.registry() == name.registry() && other.repository() != name.repository());
    let push = Push { client, repository: name.repository(), from: here.map(Reference::repository) };
    parallel::each(layers.len(), &AtomicBool::new(false), |i| {
        let sent = push.blob(&layers[i], "a layer", &|bytes| seen(PushEvent::Sent(i, bytes)))?;
        seen(PushEvent::Done(i, sent));
        Ok::<_, RegistryError>(())
    })?;
    push.blob(&outgoing.config, "the config", &|_| ())?;
    push.manifest(&outgoing, name)?;
    store.pushed(&outgoing, name)?;
    Ok((outgoing.manifest.digest, outgoing.manifest.size))
}

struct Push<'a> {
    client: &'a Client,
    repository: &'a str,
    /// Where the registry may have the layers already.
    from: Option<&'a str>,
}

impl<'a> Push<'a> {
    fn scope(&self) -> String {
        let own = Permission::Push.scope(self.repository);
        match self.from {
            Some(from) => format!("{own} {}", Permission::Pull.scope(from)),
            None => own,
        }
    }

    /// Makes sure that the registry has a blob.
    fn blob(
        &self,
        blob: &OutgoingBlob,
        what: &str,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Pushed<'a>, RegistryError> {
        let url = format!("/v2/{}/blobs/{}", self.repository, blob.digest);
        let scope = self.scope();
        let ask = Ask { what, method: Method::HEAD, ..Ask::get(&url, &scope) };
        let response = self.client.ask(&ask)?;
        match response.status() {
            status if status.is_success() => return Ok(Pushed::Present),
            StatusCode::NOT_FOUND => {}
            _ => return Err(self.client.refused(&ask, response)),
        }
        let mut tries = 0;
        loop {
            match self.upload(blob, what, &scope, sent) {
                Err(e) if e.is_passing() && tries < MAX_RETRIES => {
                    std::thread::sleep(pause(tries));
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Sends a blob as Docker does: in one request of any size, and its digest in another one. Registries differ
    /// in the pieces that they take, and some take none.
    fn upload(
        &self,
        blob: &OutgoingBlob,
        what: &str,
        scope: &str,
        sent: &(dyn Fn(u64) + Sync),
    ) -> Result<Pushed<'a>, RegistryError> {
        let uploads = format!("/v2/{}/blobs/uploads/", self.repository);
        let url = match self.from {
            Some(from) => {
                format!("{uploads}?mount={}&from={}", escape(&blob.digest.to_string()), escape(from))
            }
            None => uploads,
        };
        let ask = Ask { what, method: Method::POST, once: true, ..Ask::get(&url, scope) };
        let response = self.client.demand(&ask)?;
        if let (StatusCode::CREATED, Some(from)) = (response.status(), self.from) {
            return Ok(Pushed::Mounted(from));
        }
        let start = self.next(&response, what, &self.client.base)?;
        let open = || counted(blob, sent);
        let headers = [(header::CONTENT_TYPE, "application/octet-stream".to_owned())];
        let (method, body) = (Method::PATCH, Payload::Stream(blob.size, &open));
        let url = start.uri.to_string();
        let ask =
            Ask { what, method, headers: &headers, body, long: true, once: true, ..Ask::get(&url, scope) };
        let response = self.client.demand(&ask)?;
        let url = self.next(&response, what, &start.origin)?.uri.to_string();
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}digest={}", escape(&blob.digest.to_string()));
        let ask = Ask { what, method: Method::PUT, long: true, once: true, ..Ask::get(&url, scope) };
        self.client.demand(&ask)?;
        Ok(Pushed::Sent)
    }

    /// Where an upload goes on, going by an answer of the server at `from`.
    fn next(&self, response: &Response<Body>, what: &str, from: &Origin) -> Result<Url, RegistryError> {
        let missing = || self.client.nonsense(what, "it does not say where to upload to");
        let location = header_of(response, &header::LOCATION).ok_or_else(missing)?;
        self.client.led(what, from, location)
    }

    fn manifest(&self, outgoing: &Outgoing, name: &Reference) -> Result<(), RegistryError> {
        let digest = outgoing.manifest.digest;
        let tag = name.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let url = format!("/v2/{}/manifests/{tag}", self.repository);
        let what = format!("the manifest of {}", name.familiar());
        let headers = [(header::CONTENT_TYPE, outgoing.media_type.clone())];
        let (scope, body) = (self.scope(), Payload::Bytes(&outgoing.text));
        let ask = Ask { what: &what, method: Method::PUT, headers: &headers, body, ..Ask::get(&url, &scope) };
        let response = self.client.demand(&ask)?;
        let said = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match said.map(str::parse::<Digest>) {
            Some(Ok(said)) if said != digest => {
                Err(self.client.nonsense(&what, format!("it has it as {said} instead of {digest}")))
            }
            _ => Ok(()),
        }
    }
}

/// A blob's bytes, counted as they go.
fn counted<'a>(blob: &OutgoingBlob, sent: &'a (dyn Fn(u64) + Sync)) -> io::Result<Box<dyn Read + 'a>> {
    let file = blob.open().map_err(io::Error::other)?;
    Ok(Box::new(Counted { file, count: 0, sent }))
}

struct Counted<'a> {
    file: File,
    count: u64,
    sent: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.count += n as u64;
        (self.sent)(self.count);
        Ok(n)
    }
}
