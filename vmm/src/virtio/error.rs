//! What can go wrong with a device: when it starts, while it runs, and between the states of its life.

use std::io;

use super::buffers::ChainError;
use super::state::State;

/// Why a device did not start.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// An event descriptor, epoll instance or thread could not be made.
    #[error("cannot start the device's worker: {0}")]
    Worker(#[from] io::Error),
}

/// Why a running device cannot go on: its worker drops it and tells the driver that it needs a reset.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The driver's rings are broken.
    #[error("broken queue: {0}")]
    Queue(#[from] virtio_queue::Error),
    /// A request of the driver is not in memory as it should be.
    #[error("broken driver: {0}")]
    Chain(#[from] ChainError),
    /// The driver broke its side of the contract.
    #[error("broken driver: {0}")]
    Guest(&'static str),
    /// A system call of the device itself failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The device's code panicked.
    #[error("the device panicked")]
    Panic,
}

/// Why a device did not take a step in its life.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The step does not start from the state in which the device is.
    #[error("a device that is {state} cannot {step}")]
    Illegal {
        /// Where the device is, and stays.
        state: State,
        /// What it was to do.
        step: &'static str,
    },
    /// The device broke while it ran. Only a reset helps.
    #[error("the device is broken and needs a reset")]
    Broken,
    /// This device cannot do that.
    #[error("this device cannot {0}")]
    Unsupported(&'static str),
    /// It did not start.
    #[error(transparent)]
    Activate(#[from] ActivateError),
}
