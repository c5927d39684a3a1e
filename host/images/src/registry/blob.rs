//! A layer's bytes as a registry sends them. A connection that breaks is made again, from the byte on at which it broke.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use ureq::http::header;

use super::ask::Ask;
use super::client::{Client, pause};
use super::error::RegistryError;
use super::headers::header_of;
use super::pace::{Pace, Paced};
use crate::store::{Digest, shorten};

/// How often in a row a connection may break without anything having come.
const MAX_BREAKS: u32 = 4;

/// Which bytes.
#[derive(Debug, Clone)]
pub(super) struct BlobSource {
    pub client: Arc<Client>,
    pub repository: String,
    pub scope: String,
    pub digest: Digest,
    pub size: u64,
    pub what: String,
    /// Whether the pull has been given up.
    pub given_up: Arc<AtomicBool>,
}

impl BlobSource {
    /// Begins to read at `offset`.
    ///
    /// # Errors
    /// When the registry does not have it or does not give it.
    pub(super) fn open(&self, offset: u64) -> Result<BlobReader, RegistryError> {
        let pace = || Pace::new(self.client.timeout());
        let body = self.request(offset, &mut pace())?;
        Ok(BlobReader { source: self.clone(), at: offset, body, breaks: 0, pace: pace() })
    }

    fn request(&self, offset: u64, pace: &mut Pace) -> Result<Box<dyn Read>, RegistryError> {
        let url = format!("/v2/{}/blobs/{}", self.repository, self.digest);
        let range = [(header::RANGE, format!("bytes={offset}-"))];
        let headers = if offset > 0 { &range[..] } else { &[] };
        let ask = Ask { what: &self.what, headers, long: true, ..Ask::get(&url, &self.scope) };
        let response = self.client.demand(&ask)?;
        let partial = response.status().as_u16() == 206;
        if partial {
            let said = header_of(&response, &header::CONTENT_RANGE).unwrap_or_default();
            let expected = format!("bytes {offset}-{}/{}", self.size.saturating_sub(1), self.size);
            if said != expected {
                let reason = format!("it was asked for {expected:?} and sends {:?}", shorten(said));
                return Err(self.client.nonsense(&self.what, reason));
            }
        }
        let length = response.body().content_length();
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let rest = self.size.saturating_sub(offset);
        let expected = if partial { rest } else { self.size };
        if let Some(length) = length.filter(|&length| length != expected) {
            let reason = format!("it has {length} bytes instead of {expected}");
            return Err(self.client.nonsense(&self.what, reason));
        }
        if !partial && offset > 0 {
            // A registry that knows no ranges sends all of it again. What we have is not counted as progress, nor
            // is the time that it takes.
            let begun = Instant::now();
            self.skip(&mut body, offset)?;
            pace.leave_out(begun.elapsed());
        }
        Ok(Box::new(body))
    }

    fn skip(&self, body: &mut dyn Read, bytes: u64) -> Result<(), RegistryError> {
        let mut paced = Paced::new(body.take(bytes), self.client.timeout());
        let reason = match io::copy(&mut paced, &mut io::sink()) {
            Ok(skipped) if skipped == bytes => return Ok(()),
            Ok(_) => "it ends too early".to_owned(),
            Err(e) => shorten(&e.to_string()),
        };
        Err(self.client.nonsense(&self.what, reason))
    }
}

/// The bytes from an offset on.
pub(super) struct BlobReader {
    source: BlobSource,
    at: u64,
    body: Box<dyn Read>,
    breaks: u32,
    pace: Pace,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.source.given_up.load(Ordering::Relaxed) {
                return Err(io::Error::other(RegistryError::GivenUp));
            }
            let broken = match self.body.read(buffer) {
                Ok(n) if n > 0 || self.at == self.source.size => {
                    self.at += n as u64;
                    self.breaks = 0;
                    self.pace.count(n)?;
                    return Ok(n);
                }
                Ok(_) => String::new(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => format!(": {}", shorten(&e.to_string())),
            };
            if self.breaks == MAX_BREAKS {
                let (at, size) = (self.at, self.source.size);
                return Err(io::Error::other(format!("it ends after {at} of {size} bytes{broken}")));
            }
            thread::sleep(pause(self.breaks));
            self.breaks += 1;
            self.body = self.source.request(self.at, &mut self.pace).map_err(io::Error::other)?;
        }
    }
}
