//! A place for a network card. Cards come and go while the VM runs; their places and threads exist from the start.

use std::io;
use std::sync::{Arc, Mutex};

use super::engine::Engine;
use super::syscalls::SYSCALLS;
use crate::thread::ThreadKind;
use crate::virtio::worker::Worker;

/// A thread that serves one network card at a time.
pub type Server = Arc<Mutex<Worker<Engine>>>;

/// A place for a network card.
pub struct Place {
    /// The device's number on the bus.
    pub device: usize,
    /// The thread that serves it.
    pub server: Server,
    /// The most queue pairs that a card in it can have.
    pub pairs: usize,
    /// Whether there is a card in it.
    pub taken: bool,
}

/// Starts a thread, parked.
///
/// # Errors
/// When the host gives none.
pub fn server(name: &str) -> io::Result<Server> {
    Ok(Arc::new(Mutex::new(Worker::spawn(ThreadKind::Worker(&SYSCALLS), name)?)))
}

/// How many queues a device with so many pairs has.
pub fn queues(pairs: usize) -> usize {
    2 * pairs + usize::from(pairs > 1)
}
