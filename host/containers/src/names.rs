//! Which container has which name: `ROOT/names/NAME` holds an id.

use std::fs;

use crate::ContainerError;
use crate::Directory;
use moat_records::id::{ContainerId, is_valid_name};
use moat_records::record;
use moat_records::root::Root;

/// The container called `name`, if there is one.
pub fn lookup(root: &Root, name: &str) -> Option<ContainerId> {
    // Only valid names become file names.
    if !is_valid_name(name) {
        return None;
    }
    let id = fs::read_to_string(root.names().join(name)).ok()?.parse().ok()?;
    // The directory is made before the name is taken and removed after it is given back; a name without one was left
    // by a crash in between and is free.
    Directory::of(root, &id).path().exists().then_some(id)
}

/// Gives `name` to container `id`. The caller holds the lock on the set of containers.
///
/// # Errors
/// When the name is malformed or taken.
pub fn take(root: &Root, name: &str, id: &ContainerId) -> Result<(), ContainerError> {
    if !is_valid_name(name) {
        return Err(ContainerError::BadName(name.to_owned()));
    }
    if let Some(holder) = lookup(root, name) {
        return Err(ContainerError::NameTaken { name: name.to_owned(), holder });
    }
    record::write_bytes(&root.names().join(name), id.as_str().as_bytes())?;
    Ok(())
}

/// Gives the name of container `id` back, if it is still its own.
pub fn release(root: &Root, name: &str, id: &ContainerId) {
    let path = root.names().join(name);
    if is_valid_name(name) && fs::read_to_string(&path).is_ok_and(|holder| holder == id.as_str()) {
        // What stays is a name without a container, which `lookup` does not see.
        let _ = fs::remove_file(path);
    }
}

/// Gives back the name that container `id` has, for when its record cannot tell, and removes names that were never
/// finished. The caller holds the lock on the set of containers, so no other process is writing one.
pub fn release_of(root: &Root, id: &ContainerId) {
    let Ok(entries) = fs::read_dir(root.names()) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        release(root, &name, id);
        if record::is_temporary(&name) {
            let _ = fs::remove_file(root.names().join(name));
        }
    }
}
