//! The containers under one root directory.

use moat_network::Networks;
use moat_records::id::ContainerId;
use moat_records::record::Lock;
use moat_records::root::Root;

use crate::{Container, ContainerError, names};

/// The containers under one root directory.
#[derive(Debug, Clone)]
pub struct Containers {
    root: Root,
}

impl Containers {
    /// The containers of `root`.
    pub fn of(root: &Root) -> Self {
        Self { root: root.clone() }
    }

    /// The root directory.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The networks that they are on.
    pub fn networks(&self) -> Networks {
        Networks::of(&self.root)
    }

    /// Holds the set of containers still: none is created, no name is taken.
    ///
    /// # Errors
    /// When the lock cannot be opened.
    pub fn lock_all(&self) -> Result<Lock, ContainerError> {
        Ok(Lock::wait(&self.root.containers_lock())?)
    }

    /// All containers, the newest first. What crashes left behind is repaired on the way.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn all(&self) -> Result<Vec<Container>, ContainerError> {
        let mut containers = Vec::new();
        for id in self.ids()? {
            containers.extend(self.load(&id)?);
        }
        containers.sort_by_key(|container| std::cmp::Reverse(container.config.created));
        Ok(containers)
    }

    /// The container that `wanted` names: a name, an id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn find(&self, wanted: &str) -> Result<Container, ContainerError> {
        let not_found = || ContainerError::NotFound(wanted.to_owned());
        // Docker writes names with a slash before them, and takes them so.
        let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
        if let Some(id) = names::lookup(&self.root, wanted) {
            return self.load(&id)?.ok_or_else(not_found);
        }
        let hexadecimal = !wanted.is_empty() && wanted.bytes().all(|b| b.is_ascii_hexdigit());
        if !hexadecimal {
            return Err(not_found());
        }
        let mut matching = self.ids()?.into_iter().filter(|id| id.as_str().starts_with(wanted));
        let id = matching.next().ok_or_else(not_found)?;
        if matching.next().is_some() {
            return Err(ContainerError::Ambiguous(wanted.to_owned()));
        }
        self.load(&id)?.ok_or_else(not_found)
    }

    /// The container as it is now.
    ///
    /// # Errors
    /// When it is gone or cannot be read.
    pub fn reload(&self, container: &Container) -> Result<Container, ContainerError> {
        self.load(container.id())?.ok_or_else(|| ContainerError::NotFound(container.config.name.clone()))
    }

    /// The ids of all containers, remnants of crashes included.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn ids(&self) -> Result<Vec<ContainerId>, ContainerError> {
        let entries =
            std::fs::read_dir(self.root.containers()).map_err(ContainerError::host("list the containers"))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }
}
