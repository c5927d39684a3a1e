//! From the first instruction in user space to the greeting. The start of every container pays for each file access
//! here, so there are only those that are needed.

mod disks;
mod error;
mod mounts;
mod overlay;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use moat_protocol::{BootPhase, CONTROL_PORT, GuestMessage, LAST_WORDS, frame};

pub use disks::{mount_image, mount_layer, settle};
pub use error::{BootError, MountError};
pub use mounts::mount_own;
pub use overlay::mount_overlay;

use crate::dial::Dial;
use crate::sys::poll::{self, Interest};
use crate::{kmsg, place};

/// Boots up to the greeting and returns the control connection.
///
/// # Errors
/// When a phase fails. The host has been told, unless it could not be reached.
pub fn run(dialer: &dyn Dial) -> Result<OwnedFd, BootError> {
    let mounted = mount_all();
    let dialed = dialer.dial(CONTROL_PORT).map_err(BootError::Dial);
    match (mounted, dialed) {
        (Ok(()), Ok(control)) => greet(control),
        (Err(error), Ok(control)) => {
            say_goodbye(control, &error);
            Err(error)
        }
        (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
    }
}

fn mount_all() -> Result<(), BootError> {
    let at = |phase| move |cause| BootError::Mount { phase, cause };
    mount_own().map_err(at(BootPhase::Mounts))?;
    kmsg::open();
    mount_image(Path::new("/dev/vda"), Path::new(place::IMAGE)).map_err(at(BootPhase::Disks))?;
    mount_layer(Path::new("/dev/vdb"), Path::new(place::LAYER)).map_err(at(BootPhase::Disks))?;
    mount_overlay(Path::new(place::IMAGE), Path::new(place::LAYER), Path::new(place::ROOT))
        .map_err(at(BootPhase::Overlay))
}

fn greet(control: OwnedFd) -> Result<OwnedFd, BootError> {
    let mut control = File::from(control);
    frame::write(&mut control, &GuestMessage::Hello).map_err(BootError::Greet)?;
    Ok(control.into())
}

/// Tells the host what was wrong and waits until it has read that: the power goes off right after.
fn say_goodbye(control: OwnedFd, error: &BootError) {
    let mut control = File::from(control);
    let message = GuestMessage::BootFailed { phase: error.phase(), message: error.to_string() };
    if let Err(error) = frame::write(&mut control, &message) {
        kmsg::log(format_args!("cannot tell the host: {error}"));
        return;
    }
    let deadline = Instant::now() + LAST_WORDS;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut interests = [Interest::new(control.as_fd(), poll::IN)];
        let waited = poll::wait(&mut interests, Some(left));
        match (waited, interests[0].found()) {
            (Err(_), _) => return,
            (Ok(()), 0) if left.is_zero() => return,
            (Ok(()), 0) => {}
            // What the host still says is of no use. The end comes when it closes the connection.
            (Ok(()), _) if matches!(control.read(&mut [0; 64]), Ok(0) | Err(_)) => return,
            (Ok(()), _) => {}
        }
    }
}
