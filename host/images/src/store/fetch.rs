//! What passes between the store and a registry while a layer comes in.

use std::io::{self, Read};

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The store has it.
    Present,
    /// Another pull fetches it, and is waited for.
    Waiting,
    /// This many of its bytes are here.
    Received(u64),
    /// It is here and checked.
    Complete,
}

/// A source of a layer's bytes from an offset on.
pub type Fetch<'a> = dyn FnMut(u64) -> io::Result<Box<dyn Read>> + 'a;
