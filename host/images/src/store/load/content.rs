//! Bytes on their way to a staged file: the caller's thread reads and decompresses, while a second thread hashes and
//! writes what was read before. Neither waits long for the other, and no more than a few pieces are in memory.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use super::super::budget::Budget;
use super::super::digest::{Digest, Hasher};
use super::super::error::StoreError;
use super::super::staging::{StagedFile, Staging};
use super::stream::CHUNK;

/// How many pieces may wait for being written.
const AHEAD: usize = 2;

/// A file of the staging directory that will be a blob.
#[derive(Debug, Clone)]
pub(in crate::store) struct StagedBlob {
    /// Where it is.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl StagedBlob {
    /// Stages what `reader` gives, which is called `name` in messages. The inner error is that of the reader.
    pub(in crate::store) fn stage(
        reader: &mut impl Read,
        staging: &mut Staging,
        budget: &Budget,
        name: &str,
    ) -> Result<io::Result<Self>, StoreError> {
        let mut sink = Sink { file: staging.file()?, hasher: Hasher::default(), budget, name };
        let mut piece = vec![0; CHUNK];
        let read = match fill(reader, &mut piece) {
            // Most files of an archive are small.
            Ok(length) if length < CHUNK => sink.take(&piece[..length]).map(Ok),
            Ok(_) => sink.take_all(reader, piece),
            Err(e) => Ok(Err(e)),
        };
        let failure = match read {
            Ok(Ok(())) => return sink.finish().map(Ok),
            Ok(Err(e)) => Ok(Err(e)),
            Err(e) => Err(e),
        };
        // The space is better used by what comes next.
        std::fs::remove_file(sink.file.path()).map_err(StoreError::io(sink.file.path()))?;
        failure
    }
}

/// Where a file's bytes go.
struct Sink<'a> {
    file: StagedFile,
    hasher: Hasher,
    budget: &'a Budget<'a>,
    name: &'a str,
}

impl Sink<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        let stored = self.file.append(bytes)?;
        Ok(self.budget.spend(bytes.len() as u64, stored, self.file.length(), self.name)?)
    }

    /// Takes `first` and all that follows it. The inner error is that of the reader.
    fn take_all(&mut self, reader: &mut impl Read, first: Vec<u8>) -> Result<io::Result<()>, StoreError> {
        let (full, incoming) = sync_channel(AHEAD);
        let (used, empty) = channel();
        let path = self.file.path().to_owned();
        thread::scope(|scope| {
            let writer = thread::Builder::new()
                .spawn_scoped(scope, move || self.take_each(&incoming, &used))
                .map_err(StoreError::io(&path))?;
            let mut piece = first;
            let read = loop {
                // It refuses only when it has ended, with an error that is told below.
                if full.send(piece).is_err() {
                    break Ok(());
                }
                piece = empty.try_recv().unwrap_or_default();
                // Whole blocks, so that runs of zeros are seen.
                piece.resize(CHUNK, 0);
                match fill(reader, &mut piece) {
                    Ok(0) => break Ok(()),
                    Ok(length) => piece.truncate(length),
                    Err(e) => break Err(e),
                }
            };
            drop(full);
            writer.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            Ok(read)
        })
    }

    fn take_each(&mut self, incoming: &Receiver<Vec<u8>>, used: &Sender<Vec<u8>>) -> Result<(), StoreError> {
        for piece in incoming {
            self.take(&piece)?;
            // After the last piece there is no reader for it.
            let _ = used.send(piece);
        }
        Ok(())
    }

    fn finish(self) -> Result<StagedBlob, StoreError> {
        let (digest, size) = (self.hasher.finish(), self.file.length());
        Ok(StagedBlob { path: self.file.finish()?, digest, size })
    }
}

/// Fills `buffer`, or as much of it as there are bytes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
