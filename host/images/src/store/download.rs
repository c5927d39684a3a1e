//! The bytes of a layer on their way in: those that an earlier pull kept, and then those that come from the registry, which
//! are kept on the way.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::budget::Budget;
use super::digest::Hasher;
use super::error::{LoadError, StoreError};
use super::fetch::{Arrival, Fetch};
use super::room::Room;

/// What is here of a layer's bytes.
pub(super) struct Kept<'a> {
    pub path: PathBuf,
    pub file: &'a File,
    pub length: u64,
    /// Whether nothing is to be added to it.
    pub complete: bool,
}

/// Why a layer's bytes could not be had.
pub(super) enum Failure {
    /// The registry does not give them.
    Source(String),
    /// The store cannot keep them.
    Store(StoreError),
}

impl Failure {
    /// The error that it is for the layer `what`.
    pub(super) fn named(self, what: &str) -> StoreError {
        match self {
            Self::Source(reason) => LoadError::Layer { what: what.to_owned(), reason }.into(),
            Self::Store(e) => e,
        }
    }
}

/// A layer's bytes from the first on: those that are here, and then those that come in, which are kept on the way.
pub(super) struct Download<'a, 'b> {
    pub source: Kept<'a>,
    pub at: u64,
    pub size: u64,
    pub network: Option<Box<dyn Read>>,
    pub fetch: &'a mut Fetch<'b>,
    pub hasher: Hasher,
    pub budget: &'a Budget<'a>,
    pub room: Room,
    pub failure: Option<Failure>,
    pub seen: &'a dyn Fn(Arrival),
}

impl Download<'_, '_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let Kept { path, file, length, complete } = &mut self.source;
        if self.at < *length {
            let most = buffer.len().min((*length - self.at).try_into().unwrap_or(usize::MAX));
            let read = file.read_at(&mut buffer[..most], self.at);
            return read.map_err(|e| Failure::Store(StoreError::io(path)(e)));
        }
        let short = |at| Failure::Source(format!("it ends after {at} of {} bytes", self.size));
        if *complete {
            return Err(short(self.at));
        }
        let source = match &mut self.network {
            Some(source) => source,
            none => {
                let source = (self.fetch)(self.at).map_err(|e| Failure::Source(e.to_string()))?;
                none.insert(source)
            }
        };
        let most = buffer.len().min((self.size - self.at).try_into().unwrap_or(usize::MAX));
        let n = source.read(&mut buffer[..most]).map_err(|e| Failure::Source(e.to_string()))?;
        if n == 0 {
            return Err(short(self.at));
        }
        self.room.take(n as u64).map_err(Failure::Store)?;
        let written = file.write_all_at(&buffer[..n], self.at);
        written.map_err(|e| Failure::Store(StoreError::io(path)(e)))?;
        *length += n as u64;
        Ok(n)
    }
}

impl Read for Download<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.size || buffer.is_empty() {
            return Ok(0);
        }
        if self.failure.is_some() {
            return Err(io::Error::other("the layer cannot be read"));
        }
        match self.next(buffer) {
            Ok(n) => {
                self.hasher.update(&buffer[..n]);
                self.at += n as u64;
                self.budget.receive(n as u64);
                (self.seen)(Arrival::Received(self.at));
                Ok(n)
            }
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::Error::other("the layer cannot be read"))
            }
        }
    }
}
