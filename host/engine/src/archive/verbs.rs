//! The verbs on a container's files.

use std::io::{self, Read, Write};

use moat_containers::Container;
use moat_containers::state::Verb;
use moat_images::store::ImageId;
use moat_protocol::ArchiveTask;

use super::changes::{self, Kind};
use super::copy::{self, CopyOptions, Local};
use super::{ArchiveError, CommitRequest, Files, commit, export};
use crate::{Engine, EngineError};

impl Engine {
    /// Copies `path` from a container to a place on the host. `seen` hears each number of bytes that went by; the answer
    /// is their destination, to be shown.
    ///
    /// # Errors
    /// When there is no such path, Docker's rules do not allow the copy, or one of the two sides fails.
    pub fn copy_from(
        &self,
        container: &Container,
        path: &str,
        to: Local<'_, &mut dyn Write>,
        options: CopyOptions,
        seen: impl FnMut(u64),
    ) -> Result<String, EngineError> {
        let mut files = Files::new(self, container.clone(), Verb::Copy);
        Ok(copy::from_container(&mut files, path, to, options, seen)?)
    }

    /// Copies from the host to `path` in a container, and tells as [`Engine::copy_from`] does.
    ///
    /// # Errors
    /// As [`Engine::copy_from`].
    pub fn copy_to(
        &self,
        container: &Container,
        from: Local<'_, &mut dyn Read>,
        path: &str,
        options: CopyOptions,
        seen: impl FnMut(u64),
    ) -> Result<String, EngineError> {
        let mut files = Files::new(self, container.clone(), Verb::Copy);
        Ok(copy::to_container(&mut files, from, path, options, seen)?)
    }

    /// Tells each change of a container's file system to `tell`. The guest chooses the paths.
    ///
    /// # Errors
    /// When the container cannot be reached, its guest cannot tell, or `tell` fails.
    pub fn changes(
        &self,
        container: &Container,
        mut tell: impl FnMut(Kind, &[u8]) -> io::Result<()>,
    ) -> Result<(), EngineError> {
        let mut files = Files::new(self, container.clone(), Verb::Diff);
        let mut transfer = files.begin(ArchiveTask::Changes)?;
        match changes::read(&mut transfer, |kind, path| tell(kind, path).map_err(ArchiveError::Output)) {
            Ok(()) => Ok(transfer.finish().map(drop)?),
            Err(e) => Err(transfer.reason(e).into()),
        }
    }

    /// Sends a container's file system, without what is mounted on it, to `sink` as a tar.
    ///
    /// # Errors
    /// When the container cannot be reached, its guest cannot read it, or `sink` does not take it.
    pub fn export(&self, container: &Container, sink: &mut dyn Write) -> Result<(), EngineError> {
        Ok(export::export(&mut Files::new(self, container.clone(), Verb::Export), sink)?)
    }

    /// Makes an image of a container's image and what the container has changed. It runs as the container did, with the
    /// wanted changes.
    ///
    /// # Errors
    /// When the container cannot be reached, or what the guest sends is no layer that an image could have; the store is
    /// then as it was.
    pub fn commit(&self, container: &Container, request: CommitRequest) -> Result<ImageId, EngineError> {
        crate::image::refuse_digest(request.name.as_ref())?;
        Ok(commit::commit(&mut Files::new(self, container.clone(), Verb::Commit), request)?)
    }
}
