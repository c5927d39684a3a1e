//! A layer's bytes as a registry sends them. A connection that breaks is made again, from the byte on at which it broke.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use ureq::http::header;

use super::client::{Ask, Client, header_of, pause};
use super::error::RegistryError;
use crate::store::Digest;

/// How often in a row a connection may break without anything having come.
const MAX_BREAKS: u32 = 4;
/// The least that must come in a second, on average over the time that a registry may say nothing, in bytes.
const LEAST_RATE: u64 = 1 << 10;

/// Which bytes.
#[derive(Debug, Clone)]
pub(super) struct BlobSource {
    pub client: Arc<Client>,
    pub repository: String,
    pub scope: String,
    pub digest: Digest,
    pub size: u64,
    pub what: String,
    /// Whether nobody wants them any more.
    pub given_up: Arc<AtomicBool>,
}

impl BlobSource {
    /// Begins to read at `offset`.
    ///
    /// # Errors
    /// When the registry does not have it or does not give it.
    pub(super) fn open(&self, offset: u64) -> Result<BlobReader, RegistryError> {
        let body = self.request(offset)?;
        Ok(BlobReader { source: self.clone(), at: offset, body, breaks: 0, window: (Instant::now(), 0) })
    }

    fn request(&self, offset: u64) -> Result<Box<dyn Read>, RegistryError> {
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
                let reason =
                    format!("it was asked for {expected:?} and sends {:?}", crate::store::shorten(said));
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
            // A registry that knows no ranges sends all of it again.
            let skipped = io::copy(&mut (&mut body).take(offset), &mut io::sink());
            if skipped.ok() != Some(offset) {
                return Err(self.client.nonsense(&self.what, "it ends too early"));
            }
        }
        Ok(Box::new(body))
    }
}

/// The bytes from an offset on.
pub(super) struct BlobReader {
    source: BlobSource,
    at: u64,
    body: Box<dyn Read>,
    breaks: u32,
    /// Since when is measured how much came.
    window: (Instant, u64),
}

impl BlobReader {
    /// Refuses a registry that keeps us busy with nothing.
    fn check_rate(&mut self, bytes: usize) -> io::Result<()> {
        let (since, came) = &mut self.window;
        *came += bytes as u64;
        let elapsed = since.elapsed();
        if elapsed < self.source.client.timeout() {
            return Ok(());
        }
        if *came < LEAST_RATE * elapsed.as_secs() {
            let reason =
                format!("the registry sent {came} bytes in {} seconds, which is too slow", elapsed.as_secs());
            return Err(io::Error::other(reason));
        }
        self.window = (Instant::now(), 0);
        Ok(())
    }
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
                    self.check_rate(n)?;
                    return Ok(n);
                }
                Ok(_) => String::new(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => format!(": {}", crate::store::shorten(&e.to_string())),
            };
            if self.breaks == MAX_BREAKS {
                let (at, size) = (self.at, self.source.size);
                return Err(io::Error::other(format!("it ends after {at} of {size} bytes{broken}")));
            }
            thread::sleep(pause(self.breaks));
            self.breaks += 1;
            self.body = self.source.request(self.at).map_err(io::Error::other)?;
        }
    }
}
