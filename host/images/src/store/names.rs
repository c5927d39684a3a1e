//! Names on disk: `names/REPOSITORY/TAG` is a symbolic link whose target is the id of the image, as hexadecimal digits.
//!
//! A link is replaced by one rename, so at any moment a name leads to one image or to none. The links decide which names an
//! image has: what its record says of a name holds while the name leads to it.
//!
//! A reference has been checked character by character before it comes here. Its slashes are written as `+`, which no
//! reference contains, so that it stays within one directory; and it is no longer than a file name may be.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::PathBuf;

use super::digest::{Digest, ImageId};
use super::error::StoreError;
use super::layout::{Layout, names_in, remove_file, remove_if_empty};
use super::reference::Reference;
use super::staging;

/// What stands for the slashes of a reference.
const SLASH: &str = "+";

/// The name of a link that is to replace another one. No tag begins with a dot.
pub(super) const NEXT: &str = ".next";

impl Layout {
    /// The directory of the names in the repository of `name`.
    fn repository(&self, name: &Reference) -> PathBuf {
        self.names().join(format!("{}/{}", name.registry(), name.repository()).replace('/', SLASH))
    }

    /// Where the link of `name` is.
    pub(super) fn link_path(&self, name: &Reference) -> PathBuf {
        let digest = name.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        self.repository(name).join(format!("{}{digest}", name.tag().unwrap_or_default()))
    }

    /// The image that `name` leads to. That one may be gone.
    pub(super) fn link(&self, name: &Reference) -> Result<Option<ImageId>, StoreError> {
        let path = self.link_path(name);
        let target = match fs::read_link(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io(&path))?,
        };
        match Digest::from_hex(&target.to_string_lossy()) {
            Ok(digest) => Ok(Some(ImageId(digest))),
            Err(e) => Err(StoreError::Damaged { path, reason: e.to_string() }),
        }
    }

    /// The names that lead to some image in the repository of `name`.
    pub(super) fn links_beside(&self, name: &Reference) -> Result<Vec<Reference>, StoreError> {
        let repository = format!("{}/{}", name.registry(), name.repository());
        Ok(references(&repository, names_in(&self.repository(name))?).collect())
    }

    /// All names that lead to some image.
    pub(super) fn links(&self) -> Result<Vec<Reference>, StoreError> {
        let mut all = Vec::new();
        for directory in names_in(&self.names())? {
            let names = names_in(&self.names().join(&directory))?;
            all.extend(references(&directory.replace(SLASH, "/"), names));
        }
        Ok(all)
    }

    /// Makes every name lead to where `names` says, and makes that last beyond a power cut. The caller holds the store's
    /// lock.
    pub(super) fn set_links(&self, names: &[(Reference, Option<ImageId>)]) -> Result<(), StoreError> {
        let changed = self.change_links(names)?;
        changed
            .iter()
            .filter(|directory| directory.exists())
            .try_for_each(|directory| staging::sync(directory))
    }

    /// The same, without making it last; the answer is in which directories something changed.
    pub(super) fn change_links(
        &self,
        names: &[(Reference, Option<ImageId>)],
    ) -> Result<BTreeSet<PathBuf>, StoreError> {
        let mut changed = BTreeSet::new();
        for (name, image) in names {
            let directory = self.repository(name);
            match image {
                Some(image) => {
                    match fs::DirBuilder::new().mode(0o700).create(&directory) {
                        Ok(()) => drop(changed.insert(self.names())),
                        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(e) => return Err(StoreError::io(&directory)(e)),
                    }
                    let (next, path) = (directory.join(NEXT), self.link_path(name));
                    remove_file(&next)?;
                    symlink(image.0.hex(), &next).map_err(StoreError::io(&next))?;
                    fs::rename(&next, &path).map_err(StoreError::io(&path))?;
                    changed.insert(directory);
                }
                None => {
                    if remove_file(&self.link_path(name))? {
                        changed.insert(directory);
                    }
                }
            }
            super::step();
        }
        for directory in &changed {
            if *directory != self.names() {
                remove_if_empty(directory)?;
            }
        }
        if changed.iter().any(|directory| !directory.exists()) {
            changed.insert(self.names());
        }
        Ok(changed)
    }

    /// Where it is noted that an image is kept without a name.
    pub(super) fn nameless_path(&self, id: &ImageId) -> PathBuf {
        self.nameless().join(id.0.hex())
    }

    /// Notes that these images are kept without a name, and makes that last. The caller holds the store's lock.
    pub(super) fn keep_nameless(&self, images: &[ImageId]) -> Result<(), StoreError> {
        for image in images {
            let path = self.nameless_path(image);
            fs::File::create(&path).map_err(StoreError::io(&path))?;
            super::step();
        }
        if images.is_empty() { Ok(()) } else { staging::sync(&self.nameless()) }
    }
}

/// The references of a repository whose links have these names. What else lies there is not the store's.
fn references(repository: &str, links: Vec<String>) -> impl Iterator<Item = Reference> {
    links.into_iter().filter_map(move |link| {
        let colon = if link.starts_with('@') { "" } else { ":" };
        format!("{repository}{colon}{link}").parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path().to_owned());
        layout.create().unwrap();
        (directory, layout)
    }

    #[test]
    fn names_lead_to_images() {
        let (_directory, layout) = layout();
        let (a, b) = (ImageId(Digest::of(b"a")), ImageId(Digest::of(b"b")));
        let digest = Digest::of(b"");
        let names: Vec<Reference> = [
            "app".to_owned(),
            "app:2".to_owned(),
            format!("app@{digest}"),
            format!("app:1@{digest}"),
            "[::1]:5000/a/b__c:1".to_owned(),
        ]
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
        layout.set_links(&names.iter().map(|name| (name.clone(), Some(a))).collect::<Vec<_>>()).unwrap();
        layout.set_links(&[(names[1].clone(), Some(b))]).unwrap();
        assert_eq!(layout.link(&names[0]).unwrap(), Some(a));
        assert_eq!(layout.link(&names[1]).unwrap(), Some(b));
        assert_eq!(layout.link(&"app:3".parse().unwrap()).unwrap(), None);
        let sorted = |mut all: Vec<Reference>| {
            all.sort();
            all
        };
        assert_eq!(sorted(layout.links().unwrap()), sorted(names.clone()));
        assert_eq!(sorted(layout.links_beside(&names[0]).unwrap()), sorted(names[..4].to_vec()));
        layout.set_links(&names.iter().map(|name| (name.clone(), None)).collect::<Vec<_>>()).unwrap();
        assert_eq!(fs::read_dir(layout.names()).unwrap().count(), 0);
    }

    #[test]
    fn the_longest_name_is_a_file_name() {
        let (_directory, layout) = layout();
        let repository = format!("localhost/{}", "a/".repeat(122) + "b");
        let name: Reference =
            format!("{repository}:{}@{}", "t".repeat(128), Digest::of(b"")).parse().unwrap();
        let id = ImageId(Digest::of(b"a"));
        layout.set_links(&[(name.clone(), Some(id))]).unwrap();
        assert_eq!(layout.link(&name).unwrap(), Some(id));
        assert_eq!(layout.links().unwrap(), [name]);
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_directory(text in "\\PC{0,40}|[a-zA-Z0-9:/@.\\[\\]_-]{0,60}") {
            if let Ok(name) = text.parse::<Reference>() {
                let layout = Layout::at("/images".into());
                let path = layout.link_path(&name);
                prop_assert_eq!(path.components().count(), layout.names().components().count() + 2);
                prop_assert!(path.starts_with("/images/names"));
                prop_assert!(!path.to_str().unwrap().contains("/../"));
            }
        }
    }
}
