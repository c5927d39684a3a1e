//! How a device comes from its configuration, in the order of the boot: its numbers are checked and its descriptors are
//! claimed before the jail closes; it is built after that, once there is a machine to build it for.

use std::error::Error;
use std::fmt;
use std::io;

use super::device::VirtioDevice;
use super::handles::Handles;
use crate::fds::{FdError, InheritedFds};
use crate::range::OutOfRange;

/// A device's part of the configuration.
pub trait Plan {
    /// Checks what serde cannot.
    ///
    /// # Errors
    /// The first number that lies outside its bounds.
    fn check(&self, _name: &Name) -> Result<(), OutOfRange> {
        Ok(())
    }

    /// Takes over the descriptors that the configuration names.
    ///
    /// # Errors
    /// The first that cannot be taken.
    fn claim(&self, name: &Name, fds: &mut InheritedFds) -> Result<Box<dyn Claimed>, FdError>;
}

/// A device's part of the configuration, with its descriptors.
pub trait Claimed {
    /// The size in bytes of the largest file that the device can write.
    ///
    /// # Errors
    /// When a file does not tell its size.
    fn largest_file(&self) -> io::Result<u64> {
        Ok(0)
    }

    /// Makes the device, and the worker that serves it, parked.
    ///
    /// # Errors
    /// What is wrong with the files, or that the host gives no thread.
    fn build(self: Box<Self>, site: &mut Site<'_>) -> Result<Built, BuildError>;
}

/// The devices of a VM, each with its name and its descriptors.
pub type Claims = Vec<(Name, Box<dyn Claimed>)>;

/// Why a device cannot be built; each device has reasons of its own.
pub type BuildError = Box<dyn Error + Send + Sync>;

/// What messages call a device: its kind, and which of its kind it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The kind.
    pub kind: &'static str,
    /// Counted from 0 among its kind.
    pub number: usize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.number)
    }
}

/// Where a device is built.
pub struct Site<'a> {
    /// What messages call it.
    pub name: &'a Name,
    /// Its number on the bus.
    pub device: usize,
    /// The virtual CPUs of the VM.
    pub vcpus: u8,
    /// Where the device leaves what the main thread needs of it.
    pub handles: &'a mut Handles,
}

/// A device to be connected to the machine.
pub struct Built {
    /// The device.
    pub device: Box<dyn VirtioDevice>,
    /// How many queues are wired: its own, and those of any device that may come to its place.
    pub queues: usize,
}

impl Built {
    /// A device that stays in its place.
    pub fn new(device: impl VirtioDevice + 'static) -> Self {
        Self { queues: device.queue_sizes().len(), device: Box::new(device) }
    }
}
