//! The overlay of the writable layer on the image.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::error::MountError;

/// Options besides the directories. All are named, so that the kernel's defaults do not matter.
/// - `xino=off`: inode numbers are the small ones of the two disks. With it on, those of the image would have bit 63
///   set: 32-bit programs without large file support could not stat(2) a single file, and a program that keeps
///   numbers in a double (JavaScript) would take neighbours for one file. The price: a file of the image has another
///   device number than its directory, and both its numbers change with the first write to it.
/// - `metacopy=off`, `redirect_dir=off`: the layer alone says what has changed, file by file; nothing in it points
///   into an image by path. Renaming a directory of the image copies it, as under Docker.
/// - `index=off`: no file handles of the image's inodes are stored in the layer; a rebuilt image disk may number
///   them differently.
///
/// Not `volatile`: what a container wrote must survive a host that dies.
const OPTIONS: &str = "xino=off,metacopy=off,redirect_dir=off,index=off";

/// Joins the `image` and the `layer`'s directories `upper` and `work` at `root`.
///
/// # Errors
/// When the layer cannot be prepared, or the kernel refuses.
pub fn mount_overlay(image: &Path, layer: &Path, root: &Path) -> Result<(), MountError> {
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    if create(&upper)? {
        like_the_image(image, &upper).map_err(MountError::Permissions)?;
    }
    create(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={},{OPTIONS}",
        image.display(),
        upper.display(),
        work.display()
    );
    mount(Some("overlay"), root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(MountError::Overlay)
}

/// Creates a directory and returns whether it is new.
fn create(directory: &Path) -> Result<bool, MountError> {
    match fs::create_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(cause) => Err(MountError::Create { path: directory.to_owned(), cause }),
    }
}

/// Gives `upper` the owner and mode of the image's root: the root of an overlay has those of the upper directory.
fn like_the_image(image: &Path, upper: &Path) -> std::io::Result<()> {
    let metadata = fs::metadata(image)?;
    chown(upper, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(upper, fs::Permissions::from_mode(metadata.mode() & 0o7777))
}
