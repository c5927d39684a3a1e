//! The device against a driver in plain memory, with real sockets on the host's side.

mod guest;
mod hostile;
mod streams;
