//! The two disks: the image and the writable layer.

use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::error::MountError;

/// What both are mounted with. No program looks at them here: the container sees them through the overlay, which has
/// flags of its own.
const UNSEEN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// The options of the writable layer.
/// - `discard`: what is deleted becomes a hole in the host's file, at once.
/// - `noinit_itable`: the disk reads as zeros where nothing was written; a thread that zeroes inode tables would
///   only fill the sparse file.
/// - `errors=remount-ro`: a damaged layer stops taking writes instead of getting worse.
const LAYER_OPTIONS: &str = "discard,noinit_itable,errors=remount-ro";

/// Mounts the image.
///
/// # Errors
/// When the kernel refuses.
pub fn mount_image(device: &Path, at: &Path) -> Result<(), MountError> {
    mount(Some(device), at, Some("erofs"), UNSEEN | MsFlags::MS_RDONLY, None::<&str>)
        .map_err(|cause| MountError::Image { device: device.to_owned(), cause })
}

/// Mounts the writable layer.
///
/// # Errors
/// When the kernel refuses.
pub fn mount_layer(device: &Path, at: &Path) -> Result<(), MountError> {
    mount(Some(device), at, Some("ext4"), UNSEEN, Some(LAYER_OPTIONS))
        .map_err(|cause| MountError::Layer { device: device.to_owned(), cause })
}

/// Writes everything back and leaves the layer's file system clean. It is made read-only rather than unmounted: the
/// overlay above it may still be held by a namespace that the kernel is about to tear down.
///
/// # Errors
/// When the kernel refuses.
pub fn settle(at: &Path) -> Result<(), MountError> {
    nix::unistd::sync();
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>).map_err(MountError::ReadOnly)
}
