//! `system df`: what images and containers take on the disk.

use std::collections::HashMap;

use moat_containers::Container;
use moat_images::store::{Image, ImageUsage};

use crate::{Engine, EngineError};

/// What images and containers take on the disk.
#[derive(Debug)]
pub struct DiskUsage {
    /// Each image, the newest first.
    pub images: Vec<ImageSpace>,
    /// Each container, the newest first.
    pub containers: Vec<ContainerSpace>,
    /// All images, and what interrupted pulls left; what images share counts once.
    pub all_images: Space,
    /// All containers.
    pub all_containers: Space,
}

/// What things of one kind take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// How many there are.
    pub count: usize,
    /// How many of them are in use.
    pub active: usize,
    /// What they take, in bytes.
    pub bytes: u64,
    /// What a removal of those that are not in use gives back, in bytes.
    pub reclaimable: u64,
}

/// What one image takes.
#[derive(Debug)]
pub struct ImageSpace {
    /// The image.
    pub image: Image,
    /// What it takes.
    pub usage: ImageUsage,
    /// How many containers were made from it.
    pub containers: usize,
}

/// What one container takes.
#[derive(Debug)]
pub struct ContainerSpace {
    /// The container.
    pub container: Container,
    /// What it has written to its disk, in bytes.
    pub written: u64,
}

impl Engine {
    /// Counts what images and containers take on the disk.
    ///
    /// # Errors
    /// When the store or a container's record cannot be read.
    pub fn disk_usage(&self) -> Result<DiskUsage, EngineError> {
        let (images, containers) = (self.store().list()?, self.list()?);
        let usage = self.store().usage()?;
        let mut users: HashMap<&str, usize> = HashMap::new();
        for container in &containers {
            *users.entry(&container.config.image_id).or_default() += 1;
        }
        let users = |image: &Image| users.get(image.id.to_string().as_str()).copied().unwrap_or_default();
        let images: Vec<ImageSpace> = images
            .into_iter()
            .map(|image| ImageSpace {
                usage: usage.images.get(&image.id).copied().unwrap_or_default(),
                containers: users(&image),
                image,
            })
            .collect();
        let used = || images.iter().filter(|one| one.containers > 0);
        let bytes = usage.total.saturating_add(usage.abandoned);
        // What a removal of the unused images leaves is what the used ones need.
        let kept = usage.together(used().map(|one| &one.image.id));
        let all_images = Space {
            count: images.len(),
            active: used().count(),
            bytes,
            reclaimable: bytes.saturating_sub(kept),
        };
        let containers: Vec<ContainerSpace> = containers
            .into_iter()
            .map(|container| ContainerSpace { written: self.written(&container), container })
            .collect();
        let all_containers = total(&containers);
        Ok(DiskUsage { images, containers, all_images, all_containers })
    }
}

fn total(containers: &[ContainerSpace]) -> Space {
    let mut total = Space { count: containers.len(), ..Space::default() };
    for ContainerSpace { container, written } in containers {
        total.bytes = total.bytes.saturating_add(*written);
        if container.state.status.is_live() {
            total.active += 1;
        } else {
            total.reclaimable = total.reclaimable.saturating_add(*written);
        }
    }
    total
}
