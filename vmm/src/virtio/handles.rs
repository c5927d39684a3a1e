//! What the main thread needs of the devices while the VM runs.

use std::os::fd::OwnedFd;

use super::balloon::sizes::Target;
use super::net::place::Place;

/// The handles of all devices that have one.
#[derive(Default)]
pub struct Handles {
    /// The launcher's socket: the VM stops when its other end closes.
    pub launcher: Option<OwnedFd>,
    /// The balloon, if there is one.
    pub balloon: Option<Target>,
    /// The places for network cards, in the order of the configuration.
    pub places: Vec<Place>,
}
