//! `commit`: an image from what a container has changed.

use jiff::Timestamp;
use moat_protocol::ArchiveTask;

use super::config::of_container;
use super::{ArchiveError, Files};
use moat_containers::events;
use moat_images::config::{self, Change, Step};
use moat_images::store::{ImageId, LoadError, Reference, StoreError};
use moat_records::failpoint;

/// What is said about the new image.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Its name.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// What was done.
    pub message: String,
    /// What to change in its config.
    pub changes: Vec<Change>,
    /// Whether the container's processes stand still meanwhile.
    pub pause: bool,
}

/// Makes an image of a container's image and what the container has changed. It runs as the container did, with the
/// wanted changes.
///
/// # Errors
/// When the container cannot be reached, or what the guest sends is no layer that an image could have; the store is then
/// as it was.
pub(super) fn commit(files: &mut Files<'_>, request: CommitRequest) -> Result<ImageId, ArchiveError> {
    let engine = files.engine();
    let container = files.container().config.clone();
    let image = engine.store().resolve(&container.image_id)?;
    let own = of_container(&container, &image);
    let changed = config::changed(own, &request.changes)
        .map_err(|problem| ArchiveError::Rules(format!("cannot change the image's config: {problem}")))?;
    let step = Step {
        created: Timestamp::now(),
        // Docker's history tells the command that made the changes.
        created_by: container.process.args[container.process.entrypoint..].join(" "),
        author: request.author,
        comment: request.message.clone(),
    };
    let mut transfer = files.begin(ArchiveTask::Layer { freeze: request.pause })?;
    let layer = match engine.store().stage_layer(&mut transfer) {
        Ok(layer) => layer,
        Err(StoreError::Load(LoadError::Read(e))) => return Err(transfer.reason(ArchiveError::Stream(e))),
        Err(e) => return Err(e.into()),
    };
    // The guest has the last word on whether this was all.
    transfer.finish()?;
    failpoint::hit("commit.staged");
    let document = config::with_layer(image.document.clone(), changed, &layer.digest(), &step);
    let id = engine.store().add_image(Some(&image), layer, &document, request.name.as_slice())?.id;
    let attributes = [
        ("comment", request.message),
        ("imageID", id.to_string()),
        ("imageRef", request.name.map(|name| name.familiar()).unwrap_or_default()),
    ];
    events::emit(engine.root(), files.container(), "commit", &attributes);
    Ok(id)
}
