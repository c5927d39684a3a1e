//! Look-ups: which image a name, an id or the beginning of an id means. Each reads that image's record and no other's.

use std::collections::BTreeSet;

use super::ImageStore;
use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::image::Image;
use super::layout::names_in;
use super::record::{self, ImageRecord, Stored};
use super::reference::Reference;

/// How often a name is looked up again that leads to an image which does not have it: it is on its way to another.
const TRIES: usize = 8;

/// What a look-up found.
#[derive(Debug)]
pub(super) struct Found {
    /// The image.
    pub stored: Stored,
    /// The name, if the image was meant by its name and not by its id.
    pub reference: Option<Reference>,
}

impl ImageStore {
    /// Finds an image in Docker's order: by the full id, the name, the beginning of the id.
    pub(super) fn find(&self, text: &str) -> Result<Found, StoreError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(digest) = Digest::from_hex(hex)
            && let Some(stored) = self.stored(&ImageId(digest))?
        {
            return Ok(Found { stored, reference: None });
        }
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(stored) = self.called(reference)?
        {
            return Ok(Found { stored, reference: Some(reference.clone()) });
        }
        let looks_like_id = !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if looks_like_id && let Some(stored) = self.beginning_with(hex, text)? {
            return Ok(Found { stored, reference: None });
        }
        match reference {
            Ok(reference) => Err(StoreError::NoSuchImage(reference.familiar())),
            Err(_) if looks_like_id => Err(StoreError::NoSuchImage(text.to_owned())),
            Err(e) => Err(e.into()),
        }
    }

    /// The image with this id, unless it is on its way in or out.
    pub(super) fn stored(&self, id: &ImageId) -> Result<Option<Stored>, StoreError> {
        let read = record::read::<ImageRecord>(&self.layout.record(id), record::IMAGE);
        let mut record = match read {
            Err(StoreError::Record(e)) if e.is_not_found() => return Ok(None),
            other => other?,
        };
        let mut names = Vec::new();
        for named in record.names {
            if self.layout.link(&named.name)? == Some(*id) {
                names.push(named);
            }
        }
        record.names = names;
        let is_kept = !record.names.is_empty() || self.layout.nameless_path(id).exists();
        Ok(is_kept.then_some(Stored { id: *id, record }))
    }

    /// The image that has this very name.
    pub(super) fn named(&self, name: &Reference) -> Result<Option<Stored>, StoreError> {
        for _ in 0..TRIES {
            let Some(id) = self.layout.link(name)? else { return Ok(None) };
            match self.stored(&id)? {
                Some(stored) if stored.record.named(name).is_some() => return Ok(Some(stored)),
                // What a killed command left leads to nothing for good.
                _ if self.layout.link(name)? == Some(id) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The image that has this name, or that a registry has under this name and digest.
    fn called(&self, name: &Reference) -> Result<Option<Stored>, StoreError> {
        let exact = self.named(name)?;
        let Some(digest) = name.digest().filter(|_| exact.is_none()) else { return Ok(exact) };
        let is_meant = |stored: &Stored| {
            let mut names = stored.record.names.iter();
            names.any(|named| named.name.is_same_repository(name) && named.origin.digest == Some(digest))
        };
        let mut meant = self.in_repository(name)?;
        meant.retain(is_meant);
        Ok(match meant.len() {
            0 | 1 => meant.pop(),
            // Images for several platforms have one digest between them: the newest is meant.
            _ => {
                let read = |stored: &Stored| Image::read(&self.layout, stored).ok();
                let created = |stored: &Stored| read(stored).and_then(|image| image.created());
                meant.into_iter().max_by_key(|stored| (created(stored), std::cmp::Reverse(stored.id)))
            }
        })
    }

    /// The images that have a name in the repository of `name`.
    pub(super) fn in_repository(&self, name: &Reference) -> Result<Vec<Stored>, StoreError> {
        let mut ids = BTreeSet::new();
        for other in self.layout.links_beside(name)? {
            ids.extend(self.layout.link(&other)?);
        }
        let mut images = Vec::new();
        for id in ids {
            let has_name =
                |stored: &Stored| stored.record.names.iter().any(|named| named.name.is_same_repository(name));
            images.extend(self.stored(&id)?.filter(has_name));
        }
        Ok(images)
    }

    /// The image whose id begins with these digits, which are all of `text` that counts.
    fn beginning_with(&self, digits: &str, text: &str) -> Result<Option<Stored>, StoreError> {
        let mut found = None;
        let names = names_in(&self.layout.images())?.into_iter().filter(|name| name.starts_with(digits));
        for id in names.filter_map(|name| Digest::from_hex(&name).ok()).map(ImageId) {
            match (self.stored(&id), &found) {
                (Ok(None), _) => {}
                (_, Some(_)) => return Err(StoreError::Ambiguous(text.to_owned())),
                (stored, None) => found = Some(stored),
            }
        }
        found.transpose().map(Option::flatten)
    }

    /// The ids of all images, and of some that are on their way in or out.
    pub(super) fn ids(&self) -> Result<Vec<ImageId>, StoreError> {
        let names = names_in(&self.layout.images())?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok()).map(ImageId).collect())
    }
}
